//! Secrets: `{ env = "NAME" }`, `{ file = "PATH" }` or, outside production, `{ value = "…" }`.
//!
//! They are taken out of the tree before anything else looks at it, so that no error message can quote one.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Value, ValueKind};

use super::profile::Profile;
use super::{Read, Tree};
use crate::domain::personal::Secret;
use crate::providers;

/// A digest key shorter than this could be guessed.
const SHORTEST_DIGEST_KEY: usize = 32;

/// The key of the one secret that is no provider's.
pub(super) const DIGEST_KEY: &str = "cache.digest_key";

/// Takes every secret out of the tree, by its full key.
pub(super) fn take_all(read: &mut Read, profile: Profile, environment: &BTreeMap<String, String>) {
    let mut found: Vec<(String, Value)> = Vec::new();
    if let Some(value) = section(&mut read.tree, "cache").and_then(|cache| cache.remove("digest_key")) {
        found.push((DIGEST_KEY.to_owned(), value));
    }
    if let Some(all) = section(&mut read.tree, "providers") {
        for (name, provider) in all {
            let ValueKind::Table(table) = &mut provider.kind else { continue };
            let Some(driver) = driver_of(table) else { continue };
            for key in driver.secrets {
                if let Some(value) = table.remove(*key) {
                    found.push((format!("providers.{name}.{key}"), value));
                }
            }
        }
    }
    for (key, value) in found {
        match resolve(value, profile, environment) {
            Ok(secret) if key == DIGEST_KEY && secret.expose().len() < SHORTEST_DIGEST_KEY => {
                read.mistake(
                    key,
                    format!("is shorter than {SHORTEST_DIGEST_KEY} bytes; `openssl rand -hex 32` makes one"),
                );
            }
            Ok(secret) => drop(read.secrets.insert(key, secret)),
            Err(problem) => read.mistake(key, problem),
        }
    }
}

/// The driver that a provider's section names.
pub(super) fn driver_of(table: &Tree) -> Option<&'static providers::Driver> {
    match &table.get("driver")?.kind {
        ValueKind::String(name) => providers::driver(name),
        _ => None,
    }
}

/// A section of the tree.
pub(super) fn section<'a>(tree: &'a mut Tree, name: &str) -> Option<&'a mut Tree> {
    match &mut tree.get_mut(name)?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn resolve(value: Value, profile: Profile, environment: &BTreeMap<String, String>) -> Result<Secret, String> {
    const HOW: &str = "write { env = \"NAME\" } or { file = \"PATH\" }";
    let ValueKind::Table(table) = value.kind else {
        return Err(format!("is a secret and must not be written here; {HOW}"));
    };
    let mut entries = table.into_iter();
    let (Some((kind, Value { kind: ValueKind::String(text), .. })), None) = (entries.next(), entries.next()) else {
        return Err(format!("must be one of {{ env }}, {{ file }}, {{ value }}, with a string; {HOW}"));
    };
    let secret = match kind.as_str() {
        // A secret in the wrong place would be quoted as a name.
        "env" if !is_variable(&text) => {
            Err("does not name an environment variable (capital letters, digits and _); write { env = \"NAME\" }"
                .to_owned())
        }
        "env" => environment.get(&text).cloned().ok_or_else(|| format!("the environment variable {text} is not set")),
        "file" => from_file(Path::new(&text)),
        "value" if profile == Profile::Production => Err(format!("{{ value }} is refused in production; {HOW}")),
        "value" => Ok(text),
        _ => Err(format!("has an unknown member; {HOW}")),
    }?;
    if secret.is_empty() {
        return Err(format!("is empty; {HOW} with something in it"));
    }
    Ok(Secret::new(secret))
}

fn is_variable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Editors and `echo` end a file with a line feed that is not part of the secret.
fn from_file(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
