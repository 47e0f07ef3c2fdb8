//! Configuration mistakes: the key, the problem and the remedy of each.

use std::fmt;

/// One mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, such as `providers.aliyun.endpoints[0]`; empty for the whole configuration.
    pub key: String,
    /// The problem. Never includes a value: it may be a secret under a wrong key.
    pub problem: String,
    /// The remedy; empty where the problem implies it.
    pub remedy: String,
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistake {
    /// A mistake from one sentence, `problem; remedy`. Every section's `validate` writes its mistakes this way.
    pub(in crate::app) fn new(key: impl Into<String>, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        let (problem, remedy) = sentence.split_once("; ").unwrap_or((&sentence, ""));
        Self { key: key.into(), problem: problem.to_owned(), remedy: remedy.to_owned() }
    }
}

impl Mistakes {
    /// A single mistake, from one sentence `problem; remedy`.
    pub(in crate::app) fn one(key: &str, sentence: &str) -> Self {
        Self(vec![Mistake::new(key, sentence)])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, problem, remedy } = self;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(problem)?;
        if remedy.is_empty() { Ok(()) } else { write!(f, "; {remedy}") }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| writeln!(f, "  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_a_problem_and_a_remedy_and_is_shown_whole() {
        let mistake = Mistake::new("chain.budget", "is zero, so no attempt could begin; write \"8s\"; or more");
        assert_eq!(
            (&*mistake.problem, &*mistake.remedy),
            ("is zero, so no attempt could begin", "write \"8s\"; or more")
        );
        let shown = "chain.budget: is zero, so no attempt could begin; write \"8s\"; or more";
        assert_eq!(mistake.to_string(), shown);
        assert_eq!(Mistake::new("", "is unreadable").to_string(), "is unreadable");
    }
}
