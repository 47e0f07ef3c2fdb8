//! Checks the structure of `src/` by reading its source. The tables below are the rules.
//!
//! - `order`: a module names only the modules below it;
//! - `circles`: the files form no circle, so a reader can start at the bottom and meet nothing unknown;
//! - `edges`: the edges of the server do not import each other;
//! - `providers`: a provider's name appears only in its own folder and in the registry;
//! - `sizes`: modules have real names, and files stay short;
//! - `examples`: no comment has an example that nothing runs.
//!
//! `source` and `reader` read a file with `syn`; `arrows` finds the file that defines the item a path names.
//! A breach is reported as `src/FILE:LINE: what is wrong`.

mod arrows;
mod circles;
mod edges;
mod examples;
mod graph;
mod order;
mod providers;
mod reader;
mod sizes;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::Source;

/// Each module and the modules it may name beside itself. `main` and `lib` are the two roots.
/// A new top-level module needs a line here.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("json_writer", &[]),
    ("resilience", &[]),
    ("providers", &["domain"]),
    ("storage", &["domain", "json_writer"]),
    ("verify", &["domain", "resilience", "providers", "storage"]),
    ("server", &["domain", "json_writer", "providers", "storage", "verify"]),
    ("app", &["domain", "resilience", "providers", "storage", "verify", "server"]),
    ("main", &["app"]),
    ("lib", &["domain", "json_writer", "resilience", "providers", "storage", "verify", "server", "app"]),
];

/// The edges of the server. What two of them need belongs beside them, in `server::http` or `server::auth`.
const EDGES: &[&str] =
    &["server::api", "server::records", "server::compat", "server::admin", "server::sandbox", "server::console"];

/// Where a provider is registered, and so may be named: its `mod` declaration, and the list `DRIVERS`.
const REGISTRY: &[&str] = &["providers/mod.rs", "providers/registry.rs"];

/// Headers and files that a cloud named before a driver had the same name.
const CLOUD_NAMES: &[&str] = &["x-aliyun-ecs-metadata-token", ".aliyun/config.json"];

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "core", "types", "helper", "helpers", "misc", "hacks"];

/// The most lines that a file may have.
const MAX_LINES: usize = 600;

/// The source files, by their path below `src/`, with `/`.
type Sources = BTreeMap<String, Source>;

#[test]
fn every_module_names_only_modules_below_it() {
    passes(&order::breaches(&src()));
}

#[test]
fn no_files_form_a_circle() {
    passes(&circles::breaches(&src()));
}

#[test]
fn no_edge_imports_another_edge() {
    let sources = src();
    let exists = |edge: &str| sources.values().any(|source| source.module.join("::") == edge);
    let missing = EDGES.iter().filter(|edge| !exists(edge));
    let mut breaches: Vec<String> = missing.map(|edge| format!("EDGES lists `{edge}`, which does not exist")).collect();
    breaches.extend(edges::breaches(&sources));
    passes(&breaches);
}

#[test]
fn a_providers_name_appears_only_at_home() {
    let sources = src();
    let drivers: Vec<&str> = idgate::providers::DRIVERS.iter().map(|driver| driver.name).collect();
    assert!(drivers.len() >= 4, "{drivers:?}");
    for name in &drivers {
        assert!(sources.contains_key(&format!("providers/{name}/mod.rs")), "the driver {name} has no folder");
    }
    passes(&providers::breaches(&sources, &drivers));
}

#[test]
fn modules_have_real_names_and_files_are_short() {
    passes(&sizes::breaches(&src()));
}

#[test]
fn no_comment_has_an_example_that_nothing_runs() {
    passes(&examples::breaches(&src()));
}

#[track_caller]
fn passes(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

fn src() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    read(&root, &root, &mut sources);
    assert!(sources.len() > 20, "only {} files found", sources.len());
    sources
}

fn read(folder: &Path, root: &Path, sources: &mut Sources) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            let source = Source::read(&file, &std::fs::read_to_string(&path).unwrap());
            sources.insert(file, source);
        }
    }
}

/// Invented files, for the tests of the rules.
fn invented(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(file, text)| ((*file).to_owned(), Source::read(file, text))).collect()
}

/// Asserts that `breaches` has the line `src/FILE:LINE: …what…`.
#[track_caller]
fn assert_breach(breaches: &[String], file: &str, line: usize, what: &str) {
    let start = format!("src/{file}:{line}: ");
    let found = breaches.iter().any(|breach| breach.starts_with(&start) && breach.contains(what));
    assert!(found, "expected `{start}…{what}…`, found {breaches:#?}");
}
