//! Collects all mistakes of type and name at once, although a deserializer stops at the first.
//!
//! After each mistake the key is reset to its default, or removed, and the tree is deserialized again. Types are exact
//! in TOML: a number is no word and 2.7 is no integer. Only an environment variable, which is always a text, is
//! converted to what its key expects.

use config::{Value, ValueKind};
use serde_json::Value as Json;
use serde_path_to_error::{Path, Segment};

use super::raw::Raw;
use super::suggest;
use crate::app::config::draft::{Draft, Tree};

/// Bounds the mistakes that are reported. Converted variables do not count: there are only so many.
const MOST: usize = 50;

/// Deserializes all sections, and reports every mistake.
pub(super) fn deserialize(read: &mut Draft, defaults: &Tree) -> Option<Raw> {
    let mut reported = 0;
    while reported < MOST {
        let error = match serde_path_to_error::deserialize(exact(ValueKind::Table(read.tree.clone()))) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let path = error.path().clone();
        let text = error.inner().to_string();
        let segments: Vec<&Segment> = path.iter().collect();
        let written = find(&mut read.tree, &segments);
        let is_variable = written.as_ref().is_some_and(|value| value.origin().is_some());
        if let Some(value) = written
            && is_variable
            && let Some(converted) = convert(&value.kind, expected(&text))
        {
            value.kind = converted;
            continue;
        }
        let key = match segments.last() {
            Some(Segment::Map { key }) => key.as_str(),
            _ => "",
        };
        read.mistake(shown(&path), problem(&text, key, is_variable, defaults));
        reported += 1;
        if !reset(&mut read.tree, Some(defaults), &segments) {
            return None;
        }
    }
    None
}

/// The tree for a deserializer that converts nothing.
fn exact(kind: ValueKind) -> Json {
    match kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => Json::from(value),
        ValueKind::I64(value) => Json::from(value),
        ValueKind::U64(value) => Json::from(value),
        // Beyond 64 bits no key accepts a number, as text or otherwise.
        ValueKind::I128(value) => i64::try_from(value).map_or(Json::Null, Json::from),
        ValueKind::U128(value) => u64::try_from(value).map_or(Json::Null, Json::from),
        ValueKind::Float(value) => Json::from(value),
        ValueKind::String(value) => Json::from(value),
        ValueKind::Table(table) => table.into_iter().map(|(key, value)| (key, exact(value.kind))).collect(),
        ValueKind::Array(values) => values.into_iter().map(|value| exact(value.kind)).collect(),
    }
}

/// The value at `path`.
fn find<'a>(tree: &'a mut Tree, path: &[&Segment]) -> Option<&'a mut Value> {
    let (Segment::Map { key }, rest) = path.split_first()? else { return None };
    let value = tree.get_mut(key)?;
    if rest.is_empty() {
        return Some(value);
    }
    match &mut value.kind {
        ValueKind::Table(inner) => find(inner, rest),
        _ => None,
    }
}

/// The text of an environment variable as the type that its key expects.
fn convert(kind: &ValueKind, expected: &str) -> Option<ValueKind> {
    let ValueKind::String(text) = kind else { return None };
    let text = text.trim();
    if expected == "a boolean" {
        return match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(ValueKind::Boolean(true)),
            "false" | "no" | "off" | "0" => Some(ValueKind::Boolean(false)),
            _ => None,
        };
    }
    let is_float = matches!(expected, "f32" | "f64");
    match is_float {
        true => text.parse().ok().map(ValueKind::Float),
        false if is_integer(expected) => text.parse().ok().map(ValueKind::I64),
        false => None,
    }
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

/// What the deserializer expected. It stands last, after the value, and never comes from the value.
fn expected(text: &str) -> &str {
    text.rsplit_once(", expected ").map_or("", |(_, expected)| expected)
}

fn is_integer(expected: &str) -> bool {
    let expected = expected.strip_prefix("a nonzero ").unwrap_or(expected);
    matches!(expected, "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize")
}

/// The words between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The problem and the remedy, without the value, which may be a secret under a wrong key. The messages of serde and
/// the parsers are replaced, because most of them quote it.
fn problem(text: &str, key: &str, is_variable: bool, defaults: &Tree) -> String {
    let expected = expected(text);
    if text.starts_with("unknown field") {
        return suggest::unknown_key(key, &quoted(expected), Some(defaults));
    }
    if let Some(missing) = text.strip_prefix("missing field ") {
        return format!("missing key {missing}; add it");
    }
    if text.starts_with("unknown variant") {
        let words: Vec<_> = quoted(expected).into_iter().map(|word| format!("\"{word}\"")).collect();
        return format!("is none of the words that this key accepts; write {}", words.join(" or "));
    }
    match key {
        "expires" => return "is not a time; write for example \"2027-01-01T00:00:00Z\"".to_owned(),
        "bought" | "ends" => return "is not a day; write for example \"2026-11-01\"".to_owned(),
        "keep" => return "is not a period; write for example \"400 days\"".to_owned(),
        _ => {}
    }
    if text.contains("duration") {
        return "is not a duration; write for example \"8s\" or \"1m 30s\"".to_owned();
    }
    if text.contains("socket address") {
        return "is not an address with a port; write for example \"127.0.0.1:8080\"".to_owned();
    }
    if text.starts_with("invalid value") && is_integer(expected) {
        return format!("is out of range; write {}", as_written(expected));
    }
    match expected {
        "" => "cannot be read; `idgate config default` prints every key with an example".to_owned(),
        "a sequence" if is_variable => {
            "is a list, which a variable cannot hold; write it into the configuration file".to_owned()
        }
        expected => format!("has the wrong type; write {}", as_written(expected)),
    }
}

/// How a value of this type is written in TOML.
fn as_written(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false, without quotes",
        "a string" | "path string" | "a borrowed string" | "string or table" => "a text in quotes",
        "a sequence" => "a list, such as [\"…\"]",
        "f32" | "f64" => "a number without quotes, such as 0.5",
        _ if expected.starts_with("a nonzero") => "an integer of 1 or more, without quotes",
        _ if is_integer(expected) => "an integer without quotes, 0 or more",
        _ if expected.starts_with("struct") || expected == "a map" => "a table: { KEY = … }, or its own section header",
        other => other,
    }
}
