//! Quotes around a value, which `docker run --env-file` hands on as part of it. The provider would refuse such a key at
//! work.

use std::collections::BTreeMap;

use crate::app::config::draft::Draft;

pub(in crate::app::config) const PROBLEM: &str =
    "begins and ends with quotes, which would be part of it; remove them (an --env-file keeps quotes as they are)";

/// Whether `text` begins and ends with quotes, straight or typographic.
pub(in crate::app::config) fn is_quoted(text: &str) -> bool {
    const QUOTES: [char; 8] = ['"', '\'', '`', '“', '”', '‘', '’', '„'];
    let text = text.trim();
    text.chars().nth(1).is_some() && text.starts_with(QUOTES) && text.ends_with(QUOTES)
}

/// Reports every variable that overrides a key and is quoted.
pub(in crate::app::config) fn check_variables(read: &mut Draft, environment: &BTreeMap<String, String>) {
    let ours = environment.iter().filter(|(name, _)| name.starts_with("IDGATE__"));
    for (name, _) in ours.filter(|(_, value)| is_quoted(value)) {
        read.mistake(name.as_str(), PROBLEM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_count_only_around_the_whole() {
        for quoted in ["\"\"", "\"a\"", "'a'", "“a”", " \"a\" ", "`a`"] {
            assert!(is_quoted(quoted), "{quoted}");
        }
        for plain in ["", "\"", "a", "\"a", "a'", "user:\"word\"x", "-----BEGIN PRIVATE KEY-----"] {
            assert!(!is_quoted(plain), "{plain}");
        }
    }
}
