//! INI files with credentials.
//!
//! A parser of our own, about twenty lines: the format is `[section]`, `key = value` and comments. A library's error
//! would quote the offending line, which may contain a secret.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::text;

/// One section: its values by key.
pub type Section = BTreeMap<String, Zeroizing<String>>;

/// Why a section cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The file is malformed.
    Form,
    /// The section is missing.
    NoSection,
}

/// The keys of one section, in lower case. Text after a `#` is a comment.
///
/// # Errors
/// When the file is malformed or has no such section.
pub fn section(content: &[u8], wanted: &str) -> Result<Section, Unreadable> {
    let text = text::utf8(content).ok_or(Unreadable::Form)?;
    let (mut found, mut inside) = (None, false);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            inside = name.split_once(']').ok_or(Unreadable::Form)?.0.trim() == wanted;
            if inside {
                found.get_or_insert_with(Section::new);
            }
            continue;
        }
        let (key, value) = line.split_once(['=', ':']).ok_or(Unreadable::Form)?;
        if let Some(section) = found.as_mut().filter(|_| inside) {
            let value = value.split('#').next().unwrap_or_default().trim();
            section.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
        }
    }
    found.ok_or(Unreadable::NoSection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_the_vendors_clients_read_it() {
        let text = "\u{feff}# mine\n[default]\ntype=access_key\n[ idv ]\nType : ram_role_arn\n; no\n\
                    access_key_secret = a=b:c  # old\npolicy =\n";
        let found = section(text.as_bytes(), "idv").unwrap();
        let read = |key: &str| found.get(key).map(|value| value.as_str());
        assert_eq!((read("type"), read("access_key_secret")), (Some("ram_role_arn"), Some("a=b:c")));
        assert_eq!((read("policy"), found.len()), (Some(""), 3));
        assert_eq!(section(text.as_bytes(), "other").unwrap_err(), Unreadable::NoSection);
        for bad in [&b"[default\ntype=x"[..], b"[default]\nnothing", b"\xff"] {
            assert_eq!(section(bad, "default").unwrap_err(), Unreadable::Form);
        }
    }
}
