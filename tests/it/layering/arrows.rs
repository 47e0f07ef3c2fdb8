//! Arrows between files: from a file that names an item to the file that defines the item.
//!
//! A re-export is followed to the definition, so no arrow leads to a `mod.rs` that only re-exports. Naming a module
//! makes no arrow, nor does test code. Method calls make none either, because they contain no path.

use std::collections::{BTreeMap, BTreeSet};

use super::Sources;
use super::source::{Name, Usage, absolute, is_keyword};

/// `src/from:line` names `item`, which `src/to` defines.
pub struct Arrow<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub item: String,
    /// The first line of `from` that names the item.
    pub line: usize,
}

/// One arrow for each item that a file names, ordered by file.
pub fn arrows(sources: &Sources) -> Vec<Arrow<'_>> {
    let modules = Modules::of(sources);
    let mut lines: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    for (from, name) in names(sources) {
        if let Some((to, item)) = modules.definition(name)
            && to != from
        {
            let line = lines.entry((from, to, item)).or_insert(name.line);
            *line = name.line.min(*line);
        }
    }
    lines.into_iter().map(|((from, to, item), line)| Arrow { from, to, item, line }).collect()
}

/// Every path outside test code, with its file.
pub fn names(sources: &Sources) -> impl Iterator<Item = (&str, &Name)> {
    let names = sources.iter().flat_map(|(file, source)| source.names.iter().map(move |name| (file.as_str(), name)));
    let tests = test_modules(sources);
    names.filter(move |(_, name)| !name.is_test && !is_within(&name.scope, &tests))
}

fn test_modules(sources: &Sources) -> Vec<&[String]> {
    let modules = sources.values().flat_map(|source| &source.modules);
    modules.filter(|module| module.is_test).map(|module| module.path.as_slice()).collect()
}

fn is_within(module: &[String], tests: &[&[String]]) -> bool {
    tests.iter().any(|test| module.starts_with(test))
}

/// All modules, inline ones too, by their path from the crate's root.
struct Modules<'a>(BTreeMap<&'a [String], Module<'a>>);

#[derive(Default)]
struct Module<'a> {
    file: &'a str,
    items: BTreeSet<&'a str>,
    imports: BTreeMap<&'a str, &'a [String]>,
    globs: Vec<&'a [String]>,
}

enum Found<'a> {
    Module(Vec<String>),
    Item(&'a str, String),
}

/// How many re-exports in a row are followed. The limit ends a search through imports that import each other.
const MAX_HOPS: usize = 8;

impl<'a> Modules<'a> {
    fn of(sources: &'a Sources) -> Self {
        let mut modules: BTreeMap<&[String], Module> = BTreeMap::new();
        // `main.rs` is a separate crate, and no other file can name its items.
        for (file, source) in sources.iter().filter(|(file, _)| *file != "main.rs") {
            let inline = source.modules.iter().filter(|module| module.is_inline).map(|module| &module.path);
            for path in inline.chain([&source.module]) {
                modules.entry(path).or_default().file = file;
            }
            for (scope, name) in &source.items {
                modules.entry(scope).or_default().items.insert(name);
            }
        }
        for (_, name) in names(sources).filter(|(file, _)| *file != "main.rs") {
            let module = modules.entry(&name.scope).or_default();
            match &name.usage {
                Usage::Import(alias) => drop(module.imports.insert(alias, &name.path)),
                Usage::Glob => module.globs.push(&name.path),
                Usage::Mention => {}
            }
        }
        Self(modules)
    }

    /// The file that defines the item that `name` refers to, and the item's own name; `None` for a module or an item
    /// of another crate.
    fn definition(&self, name: &Name) -> Option<(&'a str, String)> {
        match self.find(&name.scope, &name.path, MAX_HOPS)? {
            Found::Item(file, item) => Some((file, item)),
            Found::Module(_) => None,
        }
    }

    fn find(&self, scope: &[String], path: &[String], hops: usize) -> Option<Found<'a>> {
        let hops = hops.checked_sub(1)?;
        match absolute(scope, path) {
            // `self` or `super::super` is a module, whatever else has that module's name.
            Some(module) if path.iter().all(|segment| is_keyword(segment)) => Some(Found::Module(module)),
            Some(path) => self.descend(&[], &path, true, hops),
            None => self.descend(scope, path, false, hops),
        }
    }

    /// Follows `path` from the module `place`. If `is_member`, its first name must belong to that module; otherwise it
    /// may also be another crate or a local name.
    fn descend(&self, place: &[String], path: &[String], is_member: bool, hops: usize) -> Option<Found<'a>> {
        let Some((name, rest)) = path.split_first() else { return Some(Found::Module(place.to_vec())) };
        let module = self.0.get(place)?;
        let child = [place, std::slice::from_ref(name)].concat();
        let is_module = self.0.contains_key(child.as_slice());
        let item = Found::Item(module.file, name.clone());
        // If a function and a module share a name, the last name of a path means the function.
        if is_module && (!rest.is_empty() || !module.items.contains(name.as_str())) {
            self.descend(&child, rest, true, hops)
        } else if module.items.contains(name.as_str()) {
            Some(item)
        } else if let Some(import) = module.imports.get(name.as_str()) {
            self.find(place, &[import, rest].concat(), hops)
        } else {
            // The code compiles, so a macro call in this file defines a member that is not found.
            self.through_globs(place, path, hops).or(is_member.then_some(item))
        }
    }

    fn through_globs(&self, place: &[String], path: &[String], hops: usize) -> Option<Found<'a>> {
        self.0.get(place)?.globs.iter().find_map(|glob| match self.find(place, glob, hops)? {
            Found::Module(module) => self.descend(&module, path, false, hops),
            Found::Item(..) => None,
        })
    }
}
