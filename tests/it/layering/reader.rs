//! Collects from a syntax tree what `Source` holds.
//!
//! The arguments of macros and attributes and the bodies of `macro_rules!` are only tokens. Paths are found in
//! them, but not the branches of a `use` with braces.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, UseTree};

use super::source::{Module, Name, Usage};

#[derive(Default)]
pub struct Reader {
    /// The module around the current item.
    pub scope: Vec<String>,
    pub modules: Vec<Module>,
    pub items: Vec<(Vec<String>, String)>,
    pub names: Vec<Name>,
    /// Whether the current item is test code.
    pub is_test: bool,
}

impl Reader {
    /// Records the items of the current module.
    fn define(&mut self, items: &[Item]) {
        let names = items.iter().filter_map(name_of);
        self.items.extend(names.map(|name| (self.scope.clone(), name.to_string())));
    }

    fn name(&mut self, line: usize, path: Vec<String>, usage: Usage) {
        self.names.push(Name { line, scope: self.scope.clone(), path, usage, is_test: self.is_test });
    }

    /// Runs `visit` for an item with these attributes. What it finds in a test item is marked as test code.
    fn within(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let outside = self.is_test;
        self.is_test |= attributes.iter().any(is_test);
        visit(self);
        self.is_test = outside;
    }

    /// Records each branch of a `use` tree below `path`.
    fn follow(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.follow(&tree.tree, path);
            }
            UseTree::Group(tree) => tree.items.iter().for_each(|tree| self.follow(tree, path.clone())),
            UseTree::Glob(tree) => self.name(tree.star_token.spans[0].start().line, path, Usage::Glob),
            UseTree::Name(tree) => self.import(&tree.ident, None, path),
            UseTree::Rename(tree) => self.import(&tree.ident, Some(&tree.rename), path),
        }
    }

    fn import(&mut self, last: &Ident, rename: Option<&Ident>, mut path: Vec<String>) {
        if last != "self" || path.is_empty() {
            path.push(last.to_string());
        }
        let name = rename.map_or_else(|| path.last().cloned().unwrap_or_default(), Ident::to_string);
        self.name(line(last), path, Usage::Import(name));
    }

    /// Records the paths in unparsed tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while let Some([TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next)]) =
                        tokens.get(at..at + 3)
                        && (one.as_char(), two.as_char()) == (':', ':')
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.name(line(first), path, Usage::Mention);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.define(&file.items);
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, |reader| {
            reader.scope.push(item.ident.to_string());
            let (path, is_test) = (reader.scope.clone(), reader.is_test);
            reader.modules.push(Module { line: line(&item.ident), path, is_inline: item.content.is_some(), is_test });
            if let Some((_, items)) = &item.content {
                reader.define(items);
            }
            visit::visit_item_mod(reader, item);
            reader.scope.pop();
        });
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // `use ::name` is another crate.
        if item.leading_colon.is_none() {
            self.within(&item.attrs, |reader| reader.follow(&item.tree, Vec::new()));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.name(line(&first.ident), segments, Usage::Mention);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    /// The path in `pub(in path)` is not a use of the module.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |reader| visit::visit_item_fn(reader, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.within(&field.attrs, |reader| visit::visit_field(reader, field));
    }
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

/// `#[cfg(test)]`, `#[test]` or `#[tokio::test]`.
fn is_test(attribute: &Attribute) -> bool {
    match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        meta => meta.path().segments.last().is_some_and(|last| last.ident == "test"),
    }
}

fn name_of(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}
