//! The vendor's INI file: `secret_id`, `secret_key` and, as in its Node client, `token`.

use std::path::PathBuf;

use super::answer::key;
use crate::providers::codec::ini;
use crate::providers::source::{MissReason, Step};

/// Fetches the keys of the section from the first readable file of `files`.
pub(super) fn begin(source: &'static str, mut files: Vec<PathBuf>, section: String) -> Step {
    if files.is_empty() {
        return Step::failed(source, MissReason::NotSet);
    }
    let file = files.remove(0);
    let then = move |content: Option<zeroize::Zeroizing<Vec<u8>>>| match content {
        Some(content) => read(source, &content, &section).unwrap_or_else(|reason| Step::failed(source, reason)),
        None if files.is_empty() => Step::failed(source, MissReason::FileUnreadable),
        None => begin(source, files, section),
    };
    Step::Read(file, Box::new(then))
}

fn read(source: &'static str, content: &[u8], section: &str) -> Result<Step, MissReason> {
    let found = ini::section(content, section)?;
    // One of the vendor's comments shows quotes around a value.
    let value = |key: &str| found.get(key).map(|value| value.trim_matches('"')).filter(|value| !value.is_empty());
    let need = |key: &str| value(key).ok_or(MissReason::MissingField);
    key(source, need("secret_id")?, need("secret_key")?, value("token"), None).map(Step::Done)
}
