//! What a misspelt or misplaced key was probably meant to be.

use config::ValueKind;

use super::draft::Tree;

/// Words less similar than this (Jaro-Winkler) have nothing to do with each other.
const SIMILAR: f64 = 0.84;

/// Keys without a default, by section. The others are found in the embedded defaults.
const WITHOUT_DEFAULT: [(&str, &[&str]); 11] = [
    ("log", &["file"]),
    ("regions", &["file"]),
    ("ledger", &["file", "spool_folder", "postgres"]),
    (
        "ledger.postgres",
        &[
            "host",
            "database",
            "user",
            "password",
            "ca_file",
            "certificate",
            "key",
            "schema",
            "connections",
            "prepared",
            "migrate",
        ],
    ),
    ("replica", &["name"]),
    ("cache", &["digest_key"]),
    ("receipts", &["key", "kid", "former"]),
    ("server.tls", &["certificate", "client_ca", "client_crl", "client_certificate", "handshake_timeout"]),
    (
        "clients.NAME",
        &[
            "keys",
            "certificates",
            "purposes",
            "burst",
            "weight",
            "daily_cap",
            "no_cache",
            "longest_max_age",
            "include_person",
        ],
    ),
    ("purposes.NAME", &["priority"]),
    (
        "providers.NAME",
        &["driver", "endpoints", "attempt_timeout", "connect_timeout", "call_limit", "max_concurrency", "price_yuan"],
    ),
];

/// From here on a misspelling is likelier than a key of another section.
const ALMOST_EQUAL: f64 = 0.92;

/// The most similar of the known words, if any is similar.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<(f64, &'a str)> {
    let word = word.to_lowercase().replace('-', "_");
    let scored = known.into_iter().map(|one| (strsim::jaro_winkler(&word, one), one));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(score, _)| *score >= SIMILAR)
}

/// `, did you mean …?`, or nothing.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|(_, near)| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// The mistake about a key that does not exist: what was probably meant, or the section that it belongs to, and all
/// keys that exist here.
pub(super) fn unknown_key(key: &str, known: &[&str], defaults: Option<&Tree>) -> String {
    let sections = sections_with(key, defaults);
    let meant = match (nearest(key, known.iter().copied()), sections.as_slice()) {
        (Some((score, near)), others) if others.is_empty() || score >= ALMOST_EQUAL => {
            format!(" (did you mean `{near}`?)")
        }
        (None, []) => String::new(),
        _ => format!(" (it belongs below the header {})", sections.join(" or ")),
    };
    let all: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("unknown key `{key}`{meant}, expected one of {}", all.join(", "))
}

/// The headers of the sections that have this key.
fn sections_with(key: &str, defaults: Option<&Tree>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in defaults.into_iter().flatten() {
        let ValueKind::Table(table) = &value.kind else { continue };
        if table.get(key).is_some_and(|value| !matches!(value.kind, ValueKind::Table(_))) {
            found.push(format!("[{name}]"));
        }
        for (inner, value) in table {
            if matches!(&value.kind, ValueKind::Table(table) if table.contains_key(key)) {
                found.push(format!("[{name}.{inner}]"));
            }
        }
    }
    let others = WITHOUT_DEFAULT.iter().filter(|(_, keys)| defaults.is_some() && keys.contains(&key));
    found.extend(others.map(|(name, _)| format!("[{name}]")));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_was_meant() {
        let known = ["listen", "admin_listen", "request_timeout", "max_in_flight"];
        for (typed, meant) in [
            ("lisen", Some("listen")),
            ("request-timeout", Some("request_timeout")),
            ("max_in_fliht", Some("max_in_flight")),
            ("RequestTimeout", Some("request_timeout")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known).map(|(_, near)| near), meant, "{typed}");
        }
    }
}
