//! Collects all mistakes of type and name at once, although a deserializer stops at the first.
//!
//! After each mistake the key is reset to its default, or removed, and the tree is deserialized again.

use config::{ConfigError, Value, ValueKind};
use serde_path_to_error::{Path, Segment};

use super::raw::Raw;
use crate::app::config::draft::{Draft, Tree};

/// Bounds the loop.
const MOST: usize = 50;

/// Deserializes all sections, and reports every mistake.
pub(super) fn deserialize(read: &mut Draft, defaults: &Tree) -> Option<Raw> {
    for _ in 0..MOST {
        let root = Value::new(None, ValueKind::Table(read.tree.clone()));
        let error = match serde_path_to_error::deserialize(root) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let path = error.path().clone();
        read.mistake(shown(&path), problem(error.inner()));
        let segments: Vec<&Segment> = path.iter().collect();
        if !reset(&mut read.tree, Some(defaults), &segments) {
            return None;
        }
    }
    None
}

/// Resets the key at `path` to its default, or removes it. False if nothing changed.
fn reset(tree: &mut Tree, defaults: Option<&Tree>, path: &[&Segment]) -> bool {
    let Some((Segment::Map { key }, rest)) = path.split_first() else { return false };
    let default = defaults.and_then(|defaults| defaults.get(key));
    let deeper =
        default.and_then(|default| if let ValueKind::Table(table) = &default.kind { Some(table) } else { None });
    if let (true, Some(Value { kind: ValueKind::Table(inner), .. })) = (!rest.is_empty(), tree.get_mut(key))
        && reset(inner, deeper, rest)
    {
        return true;
    }
    match default {
        Some(default) if tree.get(key) != Some(default) => tree.insert(key.clone(), default.clone()).is_some(),
        _ => tree.remove(key).is_some(),
    }
}

fn shown(path: &Path) -> String {
    let text = path.to_string();
    if text == "." { String::new() } else { text }
}

/// The problem and the remedy, without the value, which may be a secret under a wrong key.
fn problem(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { expected, .. } => format!("has the wrong type; write {expected}"),
        ConfigError::At { error, .. } => problem(error),
        other => remedy(&other.to_string()),
    }
}

/// Replaces the messages of serde and the parsers, because most of them quote the value.
fn remedy(text: &str) -> String {
    let quotes_only_keys = text.starts_with("unknown field") || text.starts_with("missing field");
    if quotes_only_keys {
        let text = text.split(" for key `").next().unwrap_or_default();
        text.split(" in config").next().unwrap_or_default().to_owned()
    } else if text.contains("duration") {
        "is not a duration; write for example \"8s\" or \"1m 30s\"".to_owned()
    } else if text.contains("socket address") {
        "is not an address with a port; write for example \"127.0.0.1:8080\"".to_owned()
    } else if text.contains("variant") {
        "is none of the words that this key accepts; config/default.toml lists them".to_owned()
    } else {
        "cannot be read; config/default.toml shows what to write".to_owned()
    }
}
