//! A module names only the modules below it, in tests too.

use super::source::{Name, Source, Usage, absolute};
use super::{MAY_NAME, Sources};

pub fn breaches(sources: &Sources) -> Vec<String> {
    sources.iter().flat_map(|(file, source)| breaches_of(file, source)).collect()
}

fn breaches_of(file: &str, source: &Source) -> Vec<String> {
    let home = source.module.first().map_or(file.trim_end_matches(".rs"), String::as_str);
    let Some((_, below)) = MAY_NAME.iter().find(|(name, _)| *name == home) else {
        return vec![format!("src/{file}:1: `{home}` has no place in the order of modules, MAY_NAME")];
    };
    let mut out = Vec::new();
    for name in &source.names {
        let what = match top_of(name) {
            Top::Elsewhere => continue,
            Top::Root => format!("`{home}` names the root of the crate; name the module it needs"),
            Top::Member(top) if top == home || below.contains(&top.as_str()) => continue,
            Top::Member(top) => format!("`{home}` may not name `{top}`"),
        };
        out.push(format!("src/{file}:{}: {what}", name.line));
    }
    out
}

enum Top {
    /// The crate itself, or everything in it.
    Root,
    /// A member of the crate's root.
    Member(String),
    /// Another crate, or an item of the same file.
    Elsewhere,
}

/// Where a path begins.
fn top_of(name: &Name) -> Top {
    let is_import = !matches!(name.usage, Usage::Mention);
    if !is_import && name.path.len() == 1 {
        return Top::Elsewhere;
    }
    match absolute(&name.scope, &name.path) {
        Some(path) => path.into_iter().next().map_or(Top::Root, Top::Member),
        // Only the root can reach a module by its bare name.
        None if is_import && name.scope.is_empty() && is_module(&name.path[0]) => Top::Member(name.path[0].clone()),
        None => Top::Elsewhere,
    }
}

fn is_module(name: &str) -> bool {
    MAY_NAME.iter().any(|(module, _)| *module == name)
}

mod tests {
    use super::super::{assert_breach, invented};
    use super::breaches;

    #[track_caller]
    fn breaks(file: &str, text: &str, line: usize, what: &str) {
        assert_breach(&breaches(&invented(&[(file, text)])), file, line, what);
    }

    #[track_caller]
    fn keeps(file: &str, text: &str) {
        assert_eq!(breaches(&invented(&[(file, text)])), Vec::<String>::new(), "{text}");
    }

    #[test]
    fn a_name_from_above_is_found_however_it_is_written() {
        for text in [
            "use crate::verify::Verifier;",
            "use crate::{domain::Name, verify};",
            "use crate::{\n    domain::{self, Name},\n    verify as v,\n};",
            "use super::super::verify;",
            "use super::super::{verify::{Verifier}};",
            "use self::super::super::verify;",
            "mod tests {\n use super::super::super::verify::Verifier;\n}",
            "mod outer { mod inner {} fn f() {} }\nfn g() { super::super::verify::build() }",
            "fn f() -> crate::verify::Verifier { todo!() }",
            "fn f() { let x = Vec::<crate::verify::Verifier>::new(); }",
            "macro_rules! m { () => { $crate::verify::build() } }",
            "fn f() {\n assert_eq!(1, g(crate::verify::ONE)) }",
            "#[derive(Debug)]\n#[schema(value_type = crate::verify::Verifier)]\nstruct A;",
            "/* /* nested */ */ fn f<'a>(c: char) { if c == '\"' { crate::verify::f() } } // \"",
            "const A: &str = r#\" \" \"#; const B: &[u8] = b\"\\\"\"; const C: crate::verify::C = 1;",
            "fn f() { idgate::verify::build() }",
        ] {
            let line = text.lines().position(|line| line.contains("verify")).unwrap() + 1;
            breaks("providers/ping/mod.rs", text, line, "`providers` may not name `verify`");
        }
    }

    #[test]
    fn modules_beside_each_other_are_strangers() {
        breaks("storage/memory.rs", "use crate::providers::Driver;", 1, "may not name `providers`");
        breaks("providers/mod.rs", "use crate::storage::Cache;", 1, "may not name `storage`");
        breaks("resilience/flight.rs", "use crate::domain::clock::Clock;", 1, "may not name `domain`");
        breaks("domain/mod.rs", "use super::resilience;", 1, "may not name `resilience`");
        breaks("server/mod.rs", "use crate::resilience::budget;", 1, "may not name `resilience`");
        breaks("main.rs", "use idgate::verify::Verifier;", 1, "`main` may not name `verify`");
        breaks("main.rs", "use idgate::app;\nuse clap::Parser;\nuse idgate::domain as d;", 3, "may not name `domain`");
    }

    #[test]
    fn the_root_is_no_way_around() {
        for text in ["use crate::*;", "use super::super::*;", "use crate as root;", "use crate::{self as root};"] {
            breaks("verify/chain.rs", text, 1, "the root of the crate");
        }
        breaks("verify/chain.rs", "use crate::Thing;", 1, "may not name `Thing`");
        breaks("gossip/mod.rs", "", 1, "no place in the order");
    }

    #[test]
    fn names_from_below_pass() {
        keeps(
            "verify/chain.rs",
            "use crate::{domain, providers::Driver, resilience, storage};\nuse super::link::Link;",
        );
        keeps("verify/chain/tests.rs", "use super::*;\nuse super::super::hold;\nmod deep { use super::super::Chain; }");
        keeps(
            "domain/name.rs",
            "//! [`crate::verify`]\n/// [x](crate::app)\nfn f() { \"crate::app::x\"; 'c'; } // crate::app",
        );
        keeps(
            "domain/name.rs",
            "pub(crate) fn f() {}\npub(in crate::domain) fn g() {}\nuse std::verify;\nuse tokio::app;",
        );
        keeps("main.rs", "use clap::Parser;\nuse idgate::app::{self, commands};\nfn main() { app::run() }");
        keeps("lib.rs", "pub mod app;\npub mod verify;\npub use verify::Verifier;");
    }
}
