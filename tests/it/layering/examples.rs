//! No comment in `src/` has an example in Rust: nothing would run it, because `doctest` is off in `Cargo.toml`.

use super::Sources;

pub fn breaches(sources: &Sources) -> Vec<String> {
    let mut out = Vec::new();
    for (file, source) in sources {
        let mut is_inside = false;
        for (line, text) in source.text.lines().enumerate() {
            let comment = text.trim_start().strip_prefix("///").or_else(|| text.trim_start().strip_prefix("//!"));
            if let Some(language) = comment.and_then(|comment| comment.trim().strip_prefix("```")) {
                if !is_inside && !["text", "json", "toml", "sh"].contains(&language) {
                    let line = line + 1;
                    out.push(format!("src/{file}:{line}: rustdoc reads this as Rust, and nothing runs it; write a test, or name the language"));
                }
                is_inside = !is_inside;
            }
        }
    }
    out
}

mod tests {
    use super::super::{assert_breach, invented};

    fn breaches(text: &str) -> Vec<String> {
        super::breaches(&invented(&[("server/mod.rs", text)]))
    }

    #[test]
    fn an_example_in_rust_is_refused() {
        assert_breach(&breaches("/// ```\n/// let a = 1;\n/// ```\nfn f() {}"), "server/mod.rs", 1, "rustdoc");
        assert_breach(&breaches("//! ```text\n//! ```\n//! ```rust\n//! ```"), "server/mod.rs", 3, "rustdoc");
        assert_eq!(breaches("//! ```text\n//! a\n//! ```\n\n//! ```json\n//! {}\n//! ```"), Vec::<String>::new());
    }
}
