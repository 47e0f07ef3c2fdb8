//! Compares a response with what `openapi.yaml` documents for the operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::Reply;

/// The codes and headers of one status of an operation.
#[derive(Debug, Default)]
pub struct Documented {
    pub codes: BTreeSet<String>,
    pub headers: BTreeSet<String>,
}

/// Keyed by `METHOD route status`.
pub static OPERATIONS: LazyLock<BTreeMap<String, Documented>> = LazyLock::new(|| {
    let mut all: BTreeMap<String, Documented> = BTreeMap::new();
    let (mut path, mut method, mut status) = (String::new(), String::new(), None);
    let (mut section, mut part) = (String::new(), String::new());
    let yaml = idgate::server::openapi::yaml().unwrap();
    let paths = yaml.lines().skip_while(|line| *line != "paths:").skip(1).take_while(|line| line.starts_with(' '));
    for line in paths {
        let word = line.trim().trim_end_matches(':').trim_matches('\'');
        let is_key = line.ends_with(':');
        match line.len() - line.trim_start().len() {
            2 => path = word.to_owned(),
            4 if is_key => (method, status) = (word.to_uppercase(), None),
            8 if is_key && word.parse::<u16>().is_ok() => {
                status = Some(format!("{method} {path} {word}"));
                all.entry(status.clone().unwrap()).or_default();
            }
            10 => section = word.to_owned(),
            14 => part = word.to_owned(),
            12 if is_key && section == "headers" => {
                let headers = status.as_ref().map(|status| &mut all.get_mut(status).unwrap().headers);
                headers.map(|headers| headers.insert(word.to_lowercase()));
            }
            16 if is_key && section == "content" && part == "examples" => {
                let codes = status.as_ref().map(|status| &mut all.get_mut(status).unwrap().codes);
                codes.map(|codes| codes.insert(word.to_owned()));
            }
            _ => {}
        }
    }
    all
});

/// Headers that any HTTP response may have, and those that every answer of the admin listener has for browsers.
const GENERAL: [&str; 9] = [
    "content-type",
    "content-length",
    "date",
    "connection",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-resource-policy",
    "content-security-policy",
];

/// Checks that the status, the code and every header of a response are documented for `METHOD route`.
pub fn assert_documented(operation: &str, reply: &Reply) {
    let status = reply.status.as_u16();
    let documented = OPERATIONS.get(&format!("{operation} {status}"));
    let documented =
        documented.unwrap_or_else(|| panic!("{operation} is not documented to answer {status}: {reply:#?}"));
    if status >= 400 {
        let has_none = documented.codes.is_empty() && reply.code().is_empty();
        assert!(has_none || documented.codes.contains(reply.code()), "{operation}: {reply:#?}");
    }
    for name in reply.headers.keys().map(|name| name.as_str()).filter(|name| !GENERAL.contains(name)) {
        assert!(documented.headers.contains(name), "{operation} {status} is not documented to have {name}: {reply:#?}");
    }
}
