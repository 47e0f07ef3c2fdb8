//! What is wrong with a configuration: every mistake at once, each with its key.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, such as `providers.aliyun.endpoints[0]`; empty for the whole.
    pub key: String,
    /// What is wrong and what to write.
    pub problem: String,
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// A single mistake.
    pub(in crate::app) fn one(key: &str, problem: &str) -> Self {
        Self(vec![Mistake { key: key.to_owned(), problem: problem.to_owned() }])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| writeln!(f, "  {mistake}"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, problem } = self;
        if key.is_empty() { f.write_str(problem) } else { write!(f, "{key}: {problem}") }
    }
}

impl std::error::Error for Mistakes {}
