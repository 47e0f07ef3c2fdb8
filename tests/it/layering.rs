//! The order of the house, read from its source: who may name whom, where a provider's name may stand, how long a file may be.
//!
//! Invariant: nothing here knows a provider's name or a file's; both come from `DRIVERS` and the folder itself.
//! To add a top-level module: one line in [`MAY_NAME`], after an argument about where it stands.

mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use source::{blanked, declared, named};

/// Each module and the modules it may name beside itself. `main` and `lib` are the two roots.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("resilience", &[]),
    ("providers", &["domain"]),
    ("storage", &["domain"]),
    ("verify", &["domain", "resilience", "providers", "storage"]),
    ("server", &["domain", "providers", "storage", "verify"]),
    ("app", &["domain", "resilience", "providers", "storage", "verify", "server"]),
    ("main", &["app"]),
    ("lib", &["domain", "resilience", "providers", "storage", "verify", "server", "app"]),
];

/// Names of modules that have no name yet.
const DRAWERS: &[&str] = &["util", "utils", "common", "core", "types", "helper", "helpers", "misc", "hacks"];

/// Names that a cloud gave to its own headers and files, before a driver was called like it.
const OF_THE_CLOUD: &[&str] = &["x-aliyun-ecs-metadata-token", ".aliyun/config.json"];

/// The longest file, in lines.
const LONGEST: usize = 600;

/// A source file: its path below `src/`, with `/`, and its text.
type Files = BTreeMap<String, String>;

/// Every breach in `files`, as `file:line: what is wrong`. `drivers` are the providers' names.
fn breaches(files: &Files, drivers: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for (file, text) in files {
        let mut say = |line: usize, what: String| out.push(format!("src/{file}:{line}: {what}"));
        let module = module_of(file);
        let home = module.first().copied().unwrap_or(file.trim_end_matches(".rs"));
        match MAY_NAME.iter().find(|(name, _)| *name == home) {
            None => say(1, format!("`{home}` has no place in the order of modules")),
            Some((_, below)) => {
                for name in named(text, &module) {
                    match name.path.first() {
                        None => {
                            say(name.line, format!("`{home}` names the root of the crate; name the module it needs"))
                        }
                        Some(top) if top == home || below.contains(&top.as_str()) => {}
                        // In the root a `use` may also name other crates.
                        Some(top) if module.is_empty() && !MAY_NAME.iter().any(|(name, _)| name == top) => {}
                        Some(top) => say(name.line, format!("`{home}` may not name `{top}`")),
                    }
                }
            }
        }
        for (line, name) in strays(file, text, drivers) {
            say(line, format!("the provider `{name}` is named outside its home src/providers/{name}/"));
        }
        let modules = declared(text).into_iter().chain(module.iter().map(|name| (1, (*name).to_owned())));
        for (line, name) in modules.filter(|(_, name)| DRAWERS.contains(&name.as_str())) {
            say(line, format!("`{name}` is a drawer, not a module; say what is in it"));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            say(lines, format!("{lines} lines, {LONGEST} at most; which part has a name of its own?"));
        }
    }
    out
}

/// The place of a file: `verify/chain.rs` is `["verify", "chain"]`, `lib.rs` and `main.rs` are the root.
fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
}

/// Where a file names a driver whose home it is not in: (line, driver).
fn strays<'a>(file: &str, text: &str, drivers: &[&'a str]) -> Vec<(usize, &'a str)> {
    // The longest first, so that `a_b` is not taken for `a`.
    let mut drivers = drivers.to_vec();
    drivers.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    let registers = |line: &str| {
        let is_list = line.trim_start().starts_with('&') && line.ends_with("::DRIVER,");
        let is_declared = drivers.iter().any(|name| line == format!("mod {name};").as_str());
        line.contains("static DRIVERS") || is_list || is_declared
    };
    let mut out = Vec::new();
    for (number, line) in blanked(text, true).lines().enumerate() {
        if matches!(file, "providers/mod.rs" | "providers/registry.rs") && registers(line) {
            continue;
        }
        let line = OF_THE_CLOUD.iter().fold(line.to_owned(), |line, name| line.replace(name, " "));
        let mut words = words(&line);
        for &name in &drivers {
            let name_alone = format!("_{name}_");
            if words.contains(&name_alone) && !file.starts_with(&format!("providers/{name}/")) {
                out.push((number + 1, name));
            }
            words = words.replace(&name_alone, " ");
        }
    }
    out
}

/// The words of a line in lower case, `_` around each: `AliceBob::new` is `_alice_bob_ _ _new_`.
fn words(line: &str) -> String {
    let mut out = String::from("_");
    let mut before = ' ';
    for c in line.chars() {
        if before.is_lowercase() && c.is_uppercase() {
            out.push('_');
        }
        if c.is_alphanumeric() || c == '_' {
            out.extend(c.to_lowercase());
        } else {
            out.push_str("_ _");
        }
        before = c;
    }
    out + "_"
}

fn read(folder: &Path, root: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let below = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.insert(below, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_module_names_only_what_stands_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Files::new();
    read(&root, &root, &mut files);
    let drivers: Vec<&str> = idgate::providers::DRIVERS.iter().map(|driver| driver.name).collect();
    assert!(files.len() > 20 && drivers.len() >= 4, "read {} files, {} drivers", files.len(), drivers.len());
    for name in &drivers {
        assert!(files.contains_key(&format!("providers/{name}/mod.rs")), "the driver {name} has no home");
    }
    let breaches = breaches(&files, &drivers);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The breaches of one file, for two invented drivers.
fn of(file: &str, text: &str) -> Vec<String> {
    breaches(&Files::from([(file.to_owned(), text.to_owned())]), &["ping", "ping_pong"])
}

#[track_caller]
fn breaks(file: &str, text: &str, line: usize, what: &str) {
    let found = of(file, text);
    let expected = format!("src/{file}:{line}: ");
    assert!(found.iter().any(|breach| breach.starts_with(&expected) && breach.contains(what)), "{text}\n{found:?}");
}

#[track_caller]
fn keeps(file: &str, text: &str) {
    assert_eq!(of(file, text), Vec::<String>::new(), "{text}");
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
        "/* /* nested */ */ fn f<'a>(c: char) { if c == '\"' { crate::verify::f() } } // \"",
        "const A: &str = r#\" \" \"#; const B: &[u8] = b\"\\\"\"; const C: crate::verify::C = 1;",
        "fn f() { idgate::verify::build() }",
    ] {
        let line = text.lines().position(|line| line.contains("verify")).unwrap() + 1;
        breaks("providers/ping/mod.rs", text, line, "`providers` may not name `verify`");
    }
}

#[test]
fn siblings_do_not_know_each_other() {
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
fn what_is_allowed_passes() {
    keeps("verify/chain.rs", "use crate::{domain, providers::Driver, resilience, storage};\nuse super::link::Link;");
    keeps("verify/chain/tests.rs", "use super::*;\nuse super::super::hold;\nmod deep { use super::super::Chain; }");
    keeps(
        "domain/name.rs",
        "//! [`crate::verify`]\n/// [x](crate::app)\nfn f() { \"crate::app::x\"; 'c'; } // crate::app",
    );
    keeps("domain/name.rs", "pub(crate) fn f() {}\npub(in crate::domain) fn g() {}\nuse std::verify;\nuse tokio::app;");
    keeps("main.rs", "use clap::Parser;\nuse idgate::app::{self, commands};\nfn main() { app::run() }");
    keeps("lib.rs", "pub mod app;\npub mod verify;\npub use verify::Verifier;");
}

#[test]
fn a_providers_name_stays_at_home() {
    breaks("verify/chain.rs", "fn f() {}\nconst X: &str = \"ping\";", 2, "`ping` is named outside");
    breaks("verify/chain.rs", "struct PingPongReply;", 1, "`ping_pong` is named outside");
    breaks("app/config.rs", "const KEY: &str = \"providers.ping.driver\";", 1, "`ping` is named outside");
    breaks("providers/alibaba/form.rs", "fn of_ping() {}", 1, "`ping` is named outside");
    breaks("providers/ping/mod.rs", "use super::ping_pong::wire;", 1, "`ping_pong` is named outside");
    breaks("providers/ping_pong/mod.rs", "use crate::providers::ping::wire;", 1, "`ping` is named outside");
    breaks("providers/mod.rs", "pub use ping::Settings;", 1, "`ping` is named outside");
    keeps(
        "providers/mod.rs",
        "mod ping;\nmod ping_pong;\npub static DRIVERS: &[&Driver] = &[&ping::DRIVER, &ping_pong::DRIVER];",
    );
    keeps("providers/ping_pong/mod.rs", "//! Unlike ping.\nconst NAME: &str = \"ping_pong\"; struct PingPong;");
    keeps(
        "verify/chain.rs",
        "// ping is slower\nfn shipping(pings: u32, ping2: u32) {}\nconst HOST: &str = \"pingpong.example\";",
    );
}

#[test]
fn drawers_and_long_files_are_refused() {
    breaks("verify/util.rs", "", 1, "drawer");
    breaks("server/helpers/mod.rs", "", 1, "drawer");
    breaks("server/mod.rs", "pub mod api;\nmod common { fn f() {} }", 2, "drawer");
    keeps("server/mod.rs", "use core::fmt;\nuse std::any::type_name as types;");
    keeps("server/mod.rs", &"\n".repeat(600));
    breaks("server/mod.rs", &"\n".repeat(601), 601, "601 lines");
}
