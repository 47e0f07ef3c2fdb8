//! An edge of the server imports nothing from another edge, directly or through a re-export.

use std::collections::BTreeMap;

use super::arrows::{arrows, names};
use super::source::absolute;
use super::{EDGES, Sources};

pub fn breaches(sources: &Sources) -> Vec<String> {
    // One line for each item, at the first line that names it.
    let mut lines: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    for (file, edge, item, line) in written(sources).into_iter().chain(defined(sources)) {
        if edge_of(&sources[file].module).is_some_and(|home| home != edge) {
            let first = lines.entry((file, edge, item)).or_insert(line);
            *first = line.min(*first);
        }
    }
    let advice = "what two edges need belongs in `server::http` or `server::auth`";
    let breach = |((file, edge, item), line)| format!("src/{file}:{line}: imports `{item}` from `{edge}`; {advice}");
    lines.into_iter().map(breach).collect()
}

/// A file names an item of an edge: (file, edge, item, line).
type Import<'a> = (&'a str, &'static str, String, usize);

/// The imports whose path, as written, leads through an edge.
fn written(sources: &Sources) -> Vec<Import<'_>> {
    let imports = names(sources).filter_map(|(file, name)| {
        let path = absolute(&name.scope, &name.path)?;
        Some((file, edge_of(&path)?, path.last()?.clone(), name.line))
    });
    imports.collect()
}

/// The imports of items that an edge defines, whatever re-export they come through.
fn defined(sources: &Sources) -> Vec<Import<'_>> {
    let arrows = arrows(sources).into_iter();
    let imports = arrows.filter_map(|arrow| {
        let edge = edge_of(&sources[arrow.to].module)?;
        Some((arrow.from, edge, arrow.item, arrow.line))
    });
    imports.collect()
}

fn edge_of(module: &[String]) -> Option<&'static str> {
    let top = module.iter().take(2).map(String::as_str).collect::<Vec<_>>().join("::");
    EDGES.iter().copied().find(|edge| *edge == top)
}

mod tests {
    use super::super::{assert_breach, invented};
    use super::breaches;

    const API: (&str, &str) = ("server/api/verify.rs", "pub struct Api; pub fn verify() {}");

    #[track_caller]
    fn breaks(text: &str, line: usize) {
        let files = [
            ("lib.rs", "pub mod server;"),
            ("server/mod.rs", "mod api; mod compat; pub use api::verify::Api;"),
            ("server/api/mod.rs", "pub mod verify;"),
            API,
            ("server/compat/call.rs", text),
        ];
        assert_breach(&breaches(&invented(&files)), "server/compat/call.rs", line, "from `server::api`");
    }

    #[test]
    fn an_import_from_another_edge_is_found() {
        breaks("use crate::server::api::verify::Api;", 1);
        breaks("use std::fmt;\nuse super::super::api;", 2);
        breaks("fn f() {\n crate::server::api::verify::verify() }", 2);
    }

    #[test]
    fn a_re_export_is_no_way_around() {
        breaks("use crate::server::Api;", 1);
        breaks("use crate::server;\nfn f(_: server::Api) {}", 2);
    }

    #[test]
    fn other_imports_pass() {
        for (file, text) in [
            ("server/compat/call.rs", "use super::words;\nuse crate::server::http::Problem;\nuse crate::server::auth;"),
            ("server/compat/call.rs", "#[cfg(test)]\nmod tests { use crate::server::api::verify::Api; }"),
            ("server/routes.rs", "use super::{api, compat};\nuse super::api::verify::Api;"),
            ("server/api/mod.rs", "use self::verify::Api;\nuse crate::server::api::verify::verify;"),
        ] {
            assert_eq!(breaches(&invented(&[API, (file, text)])), Vec::<String>::new(), "{text}");
        }
    }
}
