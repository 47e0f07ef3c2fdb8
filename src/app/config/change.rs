//! Detects differences between two configurations, section by section, from digests only.
//!
//! Invariant: only digests are kept, and a difference names sections, never values, because a value may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use config::{Value, ValueKind};
use sha2::{Digest, Sha256};

use super::draft::Tree;
use crate::domain::personal::Secret;

/// The sections with named parts, such as `[clients.NAME]`. Each part is compared separately.
const NAMED: [&str; 4] = ["clients", "operators", "providers", "purposes"];

/// The parts of `[server]` that can change without a restart.
const OF_LISTENERS: [&str; 2] = ["tls", "admin_tls"];

/// The digest of each section, such as `chain` or `providers.NAME`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sections(BTreeMap<String, [u8; 32]>);

/// The sections that a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

impl Sections {
    /// The sections of `tree`, whose secrets have been taken out into `secrets`.
    pub(super) fn of(tree: &Tree, secrets: &BTreeMap<String, Secret>) -> Self {
        let mut sections = BTreeMap::<String, Sha256>::new();
        let sorted: BTreeMap<_, _> = tree.iter().collect();
        for (name, value) in sorted {
            match &value.kind {
                ValueKind::Table(parts) if NAMED.contains(&name.as_str()) => {
                    for (part, value) in parts {
                        feed(sections.entry(format!("{name}.{part}")).or_default(), value);
                    }
                }
                ValueKind::Table(keys) if name == "server" => {
                    let mut keys = keys.clone();
                    for part in OF_LISTENERS {
                        if let Some(value) = keys.remove(part) {
                            feed(sections.entry(format!("{name}.{part}")).or_default(), &value);
                        }
                    }
                    feed(sections.entry(name.clone()).or_default(), &Value::new(None, ValueKind::Table(keys)));
                }
                _ => feed(sections.entry(name.clone()).or_default(), value),
            }
        }
        for (key, secret) in secrets {
            let first = key.split('.').next();
            let named = first == Some("server") || NAMED.iter().any(|name| first == Some(name));
            let section: Vec<_> = key.split('.').take(if named { 2 } else { 1 }).collect();
            let hash = sections.entry(section.join(".")).or_default();
            hash.update(key);
            hash.update(Sha256::digest(secret.expose()));
        }
        Self(sections.into_iter().map(|(name, hash)| (name, hash.finalize().into())).collect())
    }

    /// The sections that differ in `next`.
    pub fn difference(&self, next: &Self) -> Difference {
        let names: BTreeSet<&String> = self.0.keys().chain(next.0.keys()).collect();
        let mut difference = Difference::default();
        for name in names {
            match (self.0.get(name), next.0.get(name)) {
                (None, Some(_)) => difference.added.push(name.clone()),
                (Some(_), None) => difference.removed.push(name.clone()),
                (before, after) if before != after => difference.changed.push(name.clone()),
                _ => {}
            }
        }
        difference
    }

    /// The digest of each section that replicas should have in common. Where they listen, what they log and where their
    /// files are is their own.
    pub fn in_common(&self) -> Vec<(String, Vec<u8>)> {
        const OWN: [&str; 7] = ["server", "server.tls", "server.admin_tls", "log", "tracing", "ledger", "replica"];
        let common = self.0.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        common.map(|(name, digest)| (name.clone(), digest.to_vec())).collect()
    }

    /// A short digest of the whole configuration. It reveals no value, because random secrets go into it too.
    pub fn version(&self) -> String {
        let mut hash = Sha256::new();
        for (name, digest) in &self.0 {
            hash.update(name);
            hash.update(digest);
        }
        hex::encode(hash.finalize()).chars().take(12).collect()
    }

    /// Adds the content of a file to the section that names it.
    pub(super) fn with_file(&mut self, section: &str, content: &[u8]) {
        let before = self.0.get(section).copied().unwrap_or_default();
        let digest = Sha256::new_with_prefix(before).chain_update(Sha256::digest(content)).finalize().into();
        self.0.insert(section.to_owned(), digest);
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A short secret could be guessed from its digest.
        f.write_str("Sections(…)")
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let parts = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what} {}", names.join(", ")))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

/// Hashes a value with its structure, tables sorted by key, so that only equal values have equal digests.
fn feed(hash: &mut Sha256, value: &Value) {
    match &value.kind {
        ValueKind::Table(table) => {
            let sorted: BTreeMap<_, _> = table.iter().collect();
            hash.update(format!("t{}:", sorted.len()));
            for (key, value) in sorted {
                hash.update(format!("{}:{key}", key.len()));
                feed(hash, value);
            }
        }
        ValueKind::Array(values) => {
            hash.update(format!("a{}:", values.len()));
            values.iter().for_each(|value| feed(hash, value));
        }
        plain => {
            let text = plain.to_string();
            hash.update(format!("v{}:{text}", text.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Layer;
    use super::super::{Files, Sources};
    use super::*;

    fn sections(toml: &str, secret: &str) -> Sections {
        let tree = Sources::text(toml).layers(Layer::All, &mut Files::default()).unwrap();
        Sections::of(&tree, &BTreeMap::from([("providers.one.secret".to_owned(), Secret::new(secret))]))
    }

    #[test]
    fn a_difference_names_sections_and_a_secret_counts() {
        let before = sections("[providers.one]\nrate_limit = 1\n[purposes.x]\n", "a");
        let after = sections("[providers.one]\nrate_limit = 1\n[purposes.y]\n[cache]\nmatch_ttl = \"1m\"\n", "b");
        assert_eq!(before.difference(&before).to_string(), "nothing");
        let told = before.difference(&after).to_string();
        assert_eq!(told, "added purposes.y; changed cache, providers.one; removed purposes.x");
    }
}
