//! A source file as the rules see it: the modules and items it defines, and every path it names.

use syn::visit::Visit;

use super::reader::Reader;

pub struct Source {
    /// The file's module: `verify/chain.rs` is `["verify", "chain"]`, `lib.rs` and `main.rs` are `[]`.
    pub module: Vec<String>,
    pub text: String,
    pub syntax: syn::File,
    pub modules: Vec<Module>,
    /// The items of the file's module and of its inline modules: (module, name).
    pub items: Vec<(Vec<String>, String)>,
    pub names: Vec<Name>,
}

/// `mod x;` or `mod x { … }`.
pub struct Module {
    pub line: usize,
    pub path: Vec<String>,
    pub is_inline: bool,
    pub is_test: bool,
}

/// A path as written.
pub struct Name {
    pub line: usize,
    /// The module around it.
    pub scope: Vec<String>,
    pub path: Vec<String>,
    pub usage: Usage,
    pub is_test: bool,
}

pub enum Usage {
    /// `use path;` or `use path as name;`, with the name that it introduces.
    Import(String),
    /// `use path::*;`
    Glob,
    /// A path in code.
    Mention,
}

impl Source {
    /// `file` is the path below `src/`, with `/`.
    pub fn read(file: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        let module = module_of(file);
        let mut reader = Reader { scope: module.clone(), ..Reader::default() };
        reader.visit_file(&syntax);
        let Reader { modules, items, names, .. } = reader;
        Self { module, text: text.to_owned(), syntax, modules, items, names }
    }
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The path from the crate's root, if `path` begins with `crate`, `idgate`, `self` or `super`.
pub fn absolute(scope: &[String], path: &[String]) -> Option<Vec<String>> {
    let first = path.first().filter(|first| is_keyword(first))?;
    let mut absolute = if matches!(first.as_str(), "self" | "super") { scope.to_vec() } else { Vec::new() };
    for segment in path {
        if segment == "super" {
            absolute.pop();
        } else if !is_keyword(segment) {
            absolute.push(segment.clone());
        }
    }
    Some(absolute)
}

/// A segment that says where a path begins; `idgate` is the crate's root as `main.rs` writes it.
pub fn is_keyword(segment: &str) -> bool {
    matches!(segment, "crate" | "idgate" | "self" | "super")
}
