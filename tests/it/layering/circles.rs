//! The files form no circle: if `a.rs` needs `b.rs`, even through others, then `b.rs` does not need `a.rs`.

use super::Sources;
use super::arrows::{Arrow, arrows};
use super::graph::Graph;

/// For each circle a line with its files, then a line for each arrow to cut.
pub fn breaches(sources: &Sources) -> Vec<String> {
    let arrows = arrows(sources);
    let graph = Graph::of(&arrows);
    let mut out = Vec::new();
    for circle in graph.circles() {
        let files: Vec<String> = circle.iter().map(|file| format!("src/{file}")).collect();
        out.push(format!("a circle of {} files: {}; cut these arrows:", files.len(), files.join(", ")));
        let cuts = graph.within(&circle).cuts();
        let arrows = arrows.iter().filter(|arrow| cuts.contains(&(arrow.from, arrow.to)));
        out.extend(arrows.map(|arrow| explained(arrow, &graph)));
    }
    out
}

/// The arrow, with the shortest path from the file it leads to back to the file it comes from.
fn explained(arrow: &Arrow, graph: &Graph) -> String {
    let Arrow { from, to, item, line } = arrow;
    let back: Vec<String> = graph.path(to, from).iter().map(|file| format!("src/{file}")).collect();
    format!("src/{from}:{line}: names `{item}` of src/{to}, which needs this file: {}", back.join(" -> "))
}

mod tests {
    use super::super::invented;

    /// The breaches of these files in the crate's root.
    fn breaches(files: &[(&str, &str)]) -> Vec<String> {
        super::breaches(&invented(&[files, &[("lib.rs", "")]].concat()))
    }

    #[track_caller]
    fn assert_none(files: &[(&str, &str)]) {
        assert_eq!(breaches(files), Vec::<String>::new(), "{files:?}");
    }

    /// Asserts that `server/a.rs` with this text, which names `B` in its last line, forms a circle with `server/b.rs`.
    #[track_caller]
    fn assert_circle(facade: &str, text: &str) {
        let line = text.lines().count();
        let b = "use super::a::A;\nuse super::a::f;\npub struct B;";
        let back = "src/server/b.rs -> src/server/a.rs";
        let expected = [
            "a circle of 2 files: src/server/a.rs, src/server/b.rs; cut these arrows:".to_owned(),
            format!("src/server/a.rs:{line}: names `B` of src/server/b.rs, which needs this file: {back}"),
        ];
        let found = breaches(&[("server/mod.rs", facade), ("server/a.rs", text), ("server/b.rs", b)]);
        assert_eq!(found, expected, "{facade}\n{text}");
    }

    #[test]
    fn a_circle_is_named_with_the_arrow_to_cut() {
        for text in [
            "pub struct A;\nuse super::b::B;",
            "pub struct A;\nuse crate::server::b::{self, B as Other};",
            "pub struct A;\nuse crate::{server::{b::B}};",
            "use super::b;\npub fn f(_: b::B) {}",
            "use super::b as other;\npub fn f() -> other::B { todo!() }",
            "pub fn f() {\n use super::b::*;\n B }",
            "pub fn f() {\n super::b::B::new() }",
            "pub struct A;\nimpl super::b::B {}",
            "pub fn f() {\n vec![1, super::b::B::NUMBER] }",
            "macro_rules! m { () => {\n $crate::server::b::B } }",
            "mod inner {\n use super::super::b::B; }",
        ] {
            assert_circle("mod a; mod b;", text);
        }
    }

    #[test]
    fn a_re_export_leads_to_the_file_that_defines_the_item() {
        for facade in ["pub use b::B;", "pub use self::b::*;", "pub use a::A; pub use b::B as B;"] {
            for text in [
                "pub struct A;\nuse super::B;",
                "pub struct A;\nuse crate::server::{B as C};",
                "use crate::server;\npub fn f(_: server::B) {}",
            ] {
                assert_circle(facade, text);
            }
        }
        assert_circle("pub use b::B as Renamed;", "pub struct A;\nuse super::Renamed;");
    }

    #[test]
    fn a_facade_alone_closes_no_circle() {
        let facade = "mod a; mod b; pub use a::A; pub use b::B;";
        let (a, b) = ("use super::B;\npub struct A;", "pub struct B;");
        assert_none(&[("server/mod.rs", facade), ("server/a.rs", a), ("server/b.rs", b)]);
    }

    #[test]
    fn a_parent_that_calls_its_child_must_not_define_what_the_child_needs() {
        let child = "use super::P;\npub fn run() {}";
        let calling = "mod child;\npub struct P;\nfn f() { child::run() }";
        let found = breaches(&[("verify/mod.rs", calling), ("verify/child.rs", child)]);
        assert!(found[0].contains("src/verify/child.rs, src/verify/mod.rs"), "{found:?}");
        assert_none(&[("verify/mod.rs", "mod child;\npub struct P;"), ("verify/child.rs", child)]);
    }

    #[test]
    fn an_item_made_by_a_macro_belongs_to_the_file_of_the_call() {
        let found =
            breaches(&[("a.rs", "words! { Word }\nuse super::b::B;"), ("b.rs", "use crate::a::Word;\npub struct B;")]);
        assert!(found[0].contains("src/a.rs, src/b.rs"), "{found:?}");
    }

    #[test]
    fn the_arrow_that_closes_a_long_circle_is_cut() {
        let next = |next: &str| format!("use super::{next}::{{X, Y}};\npub struct X;\npub struct Y;");
        let (a, b, c) = (next("b"), next("c"), next("d"));
        let d = "use super::a::X as A;\npub struct X;\npub struct Y;";
        let found = breaches(&[("a.rs", &a), ("b.rs", &b), ("c.rs", &c), ("d.rs", d)]);
        let back = "src/a.rs -> src/b.rs -> src/c.rs -> src/d.rs";
        assert_eq!(found[1..], [format!("src/d.rs:1: names `X` of src/a.rs, which needs this file: {back}")]);
    }

    #[test]
    fn two_circles_are_listed_apart() {
        let of = |other: &str| format!("use super::{other}::X;\npub struct X;");
        let (a, b, c, d) = (of("b"), of("a"), of("d") + "use super::a::X as A;", of("c"));
        let found = breaches(&[("a.rs", &a), ("b.rs", &b), ("c.rs", &c), ("d.rs", &d)]);
        let circles: Vec<&String> = found.iter().filter(|line| line.starts_with("a circle of 2 files")).collect();
        assert_eq!(circles.len(), 2, "{found:#?}");
    }

    #[test]
    fn tests_comments_and_other_crates_have_no_arrows() {
        let b = "use super::a::A;\npub struct B;";
        for text in [
            "#[cfg(test)]\nmod tests { use super::super::b::B; fn f(_: super::super::b::B) {} }",
            "#[cfg(test)]\nuse super::b::B;",
            "#[cfg(test)]\nfn f() -> super::b::B { todo!() }",
            "struct S { #[cfg(test)] b: super::b::B }",
            "impl A {\n #[cfg(test)]\n fn f(_: super::b::B) {} }",
            "#[test]\nfn f() { super::b::B; }",
            "/// [`super::b::B`]\n// super::b::B\nconst S: &str = \"super::b::B\";",
            "use ::b::B;",
            "use tokio::b::B;\nfn f() { b::B; }",
            "use super::b;",
            "pub(in crate::b) fn f() {}",
        ] {
            assert_none(&[("a.rs", &format!("{text}\npub struct A;")), ("b.rs", b)]);
        }
    }

    #[test]
    fn files_of_tests_are_cut_out() {
        assert_none(&[
            ("a.rs", "use super::b::B;\npub struct A;\n#[cfg(test)]\nmod tests;"),
            ("b.rs", "pub struct B;"),
            ("a/tests.rs", "mod deep; use super::A; pub struct T;"),
            ("a/tests/deep.rs", "use crate::a::A; use super::T; pub struct D;"),
        ]);
        let counted =
            breaches(&[("a.rs", "mod inner; pub struct A(inner::T);"), ("a/inner.rs", "use super::A; pub struct T;")]);
        assert_eq!(counted.len(), 2, "{counted:?}");
    }

    #[test]
    fn self_is_not_mistaken_for_a_function_with_the_modules_name() {
        let (parent, child) =
            ("mod usage;\nfn usage() { usage::read() }", "pub fn read() {}\nfn f() { self.0.read() }");
        assert_none(&[("a.rs", parent), ("a/usage.rs", child)]);
    }
}
