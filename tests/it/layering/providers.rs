//! A provider's name appears only in its own folder and in the registry. Tests and strings count, comments do not.

use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::Item;
use syn::spanned::Spanned;

use super::source::Source;
use super::{CLOUD_NAMES, REGISTRY, Sources};

pub fn breaches(sources: &Sources, drivers: &[&str]) -> Vec<String> {
    // The longest first, so that `a_b` is not taken for `a`.
    let mut drivers = drivers.to_vec();
    drivers.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    let mut out = Vec::new();
    for (file, source) in sources {
        let registered = registered_lines(file, source);
        let mut tokens = Vec::new();
        flatten(source.text.parse().unwrap(), &mut tokens);
        for (line, token) in tokens.iter().filter(|(line, _)| !registered.iter().any(|lines| lines.contains(line))) {
            for name in named_in(token, &drivers) {
                if !file.starts_with(&format!("providers/{name}/")) {
                    let what = format!("the provider `{name}` is named outside its folder src/providers/{name}/");
                    out.push(format!("src/{file}:{line}: {what}"));
                }
            }
        }
    }
    out
}

/// The lines of the registry: the declarations of modules and `static DRIVERS`.
fn registered_lines(file: &str, source: &Source) -> Vec<RangeInclusive<usize>> {
    let items = source.syntax.items.iter().filter(|item| match item {
        Item::Mod(module) => module.content.is_none(),
        Item::Static(item) => item.ident == "DRIVERS",
        _ => false,
    });
    let lines = items.map(|item| item.span().start().line..=item.span().end().line);
    lines.filter(|_| REGISTRY.contains(&file)).collect()
}

/// The words and literals outside doc comments, with their lines.
fn flatten(tokens: TokenStream, out: &mut Vec<(usize, String)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if is_doc(&group.stream()) => {}
            TokenTree::Group(group) => flatten(group.stream(), out),
            TokenTree::Ident(word) => out.push((word.span().start().line, word.to_string())),
            TokenTree::Literal(literal) => out.push((literal.span().start().line, literal.to_string())),
            TokenTree::Punct(_) => {}
        }
    }
}

/// A doc comment is `#[doc = "…"]` to the lexer.
fn is_doc(tokens: &TokenStream) -> bool {
    let mut tokens = tokens.clone().into_iter();
    matches!(tokens.next(), Some(TokenTree::Ident(word)) if word == "doc")
        && matches!(tokens.next(), Some(TokenTree::Punct(sign)) if sign.as_char() == '=')
}

/// The drivers named in a token, each as a whole word: `PingReply` and `"ping-reply"` name `ping`.
fn named_in<'a>(token: &str, drivers: &[&'a str]) -> Vec<&'a str> {
    let token = CLOUD_NAMES.iter().fold(token.to_owned(), |token, name| token.replace(name, " "));
    let mut words = snake_case(&token);
    let mut found = Vec::new();
    for &name in drivers {
        let word = format!("_{name}_");
        if words.contains(&word) {
            found.push(name);
        }
        words = words.replace(&word, " ");
    }
    found
}

/// In lower case with `_` around each word: `AliceBob::new` is `_alice_bob_ _ _new_`.
fn snake_case(text: &str) -> String {
    let mut out = String::from("_");
    let mut before = ' ';
    for c in text.chars() {
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

mod tests {
    use super::super::{assert_breach, invented};

    fn breaches(file: &str, text: &str) -> Vec<String> {
        super::breaches(&invented(&[(file, text)]), &["ping", "ping_pong"])
    }

    #[track_caller]
    fn breaks(file: &str, text: &str, line: usize, what: &str) {
        assert_breach(&breaches(file, text), file, line, what);
    }

    #[track_caller]
    fn keeps(file: &str, text: &str) {
        assert_eq!(breaches(file, text), Vec::<String>::new(), "{text}");
    }

    #[test]
    fn a_providers_name_elsewhere_is_found() {
        breaks("verify/chain.rs", "fn f() {}\nconst X: &str = \"ping\";", 2, "`ping` is named outside");
        breaks("verify/chain.rs", "struct PingPongReply;", 1, "`ping_pong` is named outside");
        breaks("verify/chain.rs", "fn f() {\n println!(\"{}\", \"a ping\") }", 2, "`ping` is named outside");
        breaks("app/config.rs", "const KEY: &str = \"providers.ping.driver\";", 1, "`ping` is named outside");
        breaks("providers/alibaba/form.rs", "fn of_ping() {}", 1, "`ping` is named outside");
        breaks("providers/ping/mod.rs", "use super::ping_pong::wire;", 1, "`ping_pong` is named outside");
        breaks("providers/ping_pong/mod.rs", "use crate::providers::ping::wire;", 1, "`ping` is named outside");
        breaks("providers/mod.rs", "pub use ping::Settings;", 1, "`ping` is named outside");
        breaks("providers/registry.rs", "fn f(name: &str) -> bool { name == \"ping\" }", 1, "`ping` is named outside");
        breaks("verify/mod.rs", "mod ping;", 1, "`ping` is named outside");
    }

    #[test]
    fn the_registry_names_providers() {
        let list = "pub static DRIVERS: &[&Driver] = &[\n    &ping::DRIVER,\n    &super::ping_pong::DRIVER,\n];";
        keeps("providers/mod.rs", &format!("mod ping;\nmod ping_pong;\n{list}"));
        keeps("providers/registry.rs", list);
    }

    #[test]
    fn other_words_pass() {
        keeps("providers/ping_pong/mod.rs", "//! Unlike ping.\nconst NAME: &str = \"ping_pong\"; struct PingPong;");
        keeps("verify/chain.rs", "//! Not ping.\n\n/// ping\n#[doc = \"ping\"]\nfn f() { /* ping */ }");
        keeps(
            "verify/chain.rs",
            "// ping is slower\nfn shipping(pings: u32, ping2: u32) {}\nconst HOST: &str = \"pingpong.example\";",
        );
    }
}
