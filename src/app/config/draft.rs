//! A configuration while it is being read: the merged layers, the secrets taken out of them, and the mistakes so far.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::{Value, ValueKind};

use super::files::Files;
use super::mistakes::Mistake;
use crate::domain::personal::Secret;

/// The merged layers, section by section.
pub(super) type Tree = config::Map<String, Value>;

/// A configuration while it is being read.
pub(super) struct Draft {
    pub(super) tree: Tree,
    /// Secrets by key, taken out of the tree.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// The files of those that are in files, by key.
    pub(super) secret_files: BTreeMap<String, PathBuf>,
    pub(super) files: Files,
    pub(super) mistakes: Vec<Mistake>,
}

impl Draft {
    pub(super) fn mistake(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(Mistake::new(key, problem));
    }

    /// Adds the mistakes of one section.
    pub(super) fn section(&mut self, section: &str, mistakes: impl IntoIterator<Item = (impl fmt::Display, String)>) {
        for (key, problem) in mistakes {
            self.mistake(format!("{section}.{key}"), problem);
        }
    }

    /// Reports a name of a client, an operator or a provider that would make a bad metric label.
    pub(super) fn check_name(&mut self, at: &str, name: &str) {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            self.mistake(at, "is not a valid name; write lower-case letters, digits and _ (it is a metric label)");
        }
    }
}

/// A section of the tree.
pub(super) fn section<'a>(tree: &'a mut Tree, name: &str) -> Option<&'a mut Tree> {
    match &mut tree.get_mut(name)?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}
