//! A module's name says what is in it, and a file is short enough to read.

use super::{EMPTY_NAMES, MAX_LINES, Sources};

pub fn breaches(sources: &Sources) -> Vec<String> {
    let mut out = Vec::new();
    for (file, source) in sources {
        let declared = source.modules.iter().map(|module| (module.line, module.path.last()));
        let own = source.module.iter().map(|name| (1, Some(name)));
        for (line, name) in declared.chain(own).filter_map(|(line, name)| Some((line, name?))) {
            if EMPTY_NAMES.contains(&name.as_str()) {
                out.push(format!("src/{file}:{line}: `{name}` says nothing about what the module contains"));
            }
        }
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            out.push(format!("src/{file}:{lines}: {lines} lines, at most {MAX_LINES}; split the file"));
        }
    }
    out
}

mod tests {
    use super::super::{assert_breach, invented};

    fn breaches(file: &str, text: &str) -> Vec<String> {
        super::breaches(&invented(&[(file, text)]))
    }

    #[test]
    fn empty_names_are_refused() {
        for (file, text, line) in [
            ("verify/util.rs", "", 1),
            ("server/helpers/mod.rs", "", 1),
            ("server/mod.rs", "pub mod api;\nmod common { fn f() {} }", 2),
        ] {
            assert_breach(&breaches(file, text), file, line, "says nothing");
        }
        let imports = "use core::fmt;\nuse std::any::type_name as types;";
        assert_eq!(breaches("server/mod.rs", imports), Vec::<String>::new());
    }

    #[test]
    fn long_files_are_refused() {
        assert_eq!(breaches("server/mod.rs", &"\n".repeat(600)), Vec::<String>::new());
        assert_breach(&breaches("server/mod.rs", &"\n".repeat(601)), "server/mod.rs", 601, "601 lines");
    }
}
