//! Keys issued to callers of the providers' protocols: each scheme that a driver declares has a list in a client's
//! section.
//!
//! The lists are taken out of the tree before the sections are read, because only the schemes know their names.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use crate::app::config::draft::Draft;
use crate::app::config::draft::section;
use crate::app::config::raw::HASH_OF_NOTHING;
use crate::app::config::suggest;
use crate::domain::personal::Secret;
use crate::providers::{Scheme, schemes};
use crate::server::auth::client_config::{ClientConfig, IssuedConfig};
use crate::server::auth::issued_keys::{Issued, Proof};
use crate::server::compat;

/// A shorter secret could be brute-forced from a single signed request.
const SHORTEST_SECRET: usize = 20;

pub(in crate::app::config) type Lists = BTreeMap<String, Vec<IssuedConfig>>;

/// Takes the lists out of the tree, with every mistake of type and name in them.
pub(in crate::app::config) fn split(read: &mut Draft) -> Lists {
    let (mut lists, mut mistakes) = (Lists::new(), Vec::new());
    for (client, value) in section(&mut read.tree, "clients").into_iter().flatten() {
        let ValueKind::Table(table) = &mut value.kind else { continue };
        let entries = lists.entry(client.clone()).or_default();
        for scheme in schemes() {
            let at = format!("clients.{client}.{}", scheme.issued.list);
            let list = table.remove(scheme.issued.list);
            match list.map(|list| list.kind) {
                None => {}
                Some(ValueKind::Array(list)) => {
                    let read = |(index, value)| entry(scheme, index, value, &format!("{at}[{index}]"), &mut mistakes);
                    entries.extend(list.into_iter().enumerate().filter_map(read));
                }
                Some(_) => mistakes.push((at, "has the wrong type; write a list, such as [{ … }]".to_owned())),
            }
        }
    }
    for (key, problem) in mistakes {
        read.mistake(key, problem);
    }
    lists
}

fn entry(
    scheme: &'static Scheme,
    index: usize,
    value: Value,
    at: &str,
    mistakes: &mut Vec<(String, String)>,
) -> Option<IssuedConfig> {
    let mut mistake = |key: String, problem: &str| mistakes.push((key, problem.to_owned()));
    let ValueKind::Table(table) = value.kind else {
        mistake(at.to_owned(), "has the wrong type; write a table: { KEY = … }");
        return None;
    };
    let id_member = scheme.issued.id;
    let (mut id, mut sha256, mut purpose, mut expires) = (None, None, None, None);
    for (key, value) in table {
        let place = format!("{at}.{key}");
        let text = match value.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        };
        let known = match key.as_str() {
            member if member == id_member => Some(&mut id),
            "sha256" if scheme.is_bearer => Some(&mut sha256),
            "purpose" => Some(&mut purpose),
            "expires" => Some(&mut expires),
            _ => None,
        };
        match known {
            None => {
                let needed = if scheme.is_bearer { "sha256" } else { "secret" };
                let known = [id_member, needed, "purpose", "expires"];
                mistake(place, &suggest::unknown_key(&key, &known, None));
            }
            Some(_) if text.is_none() => mistake(place, "has the wrong type; write a text in quotes"),
            Some(member) => *member = text,
        }
    }
    let expires = match expires.map(|text| text.parse()) {
        None => None,
        Some(Ok(end)) => Some(end),
        Some(Err(_)) => {
            mistake(format!("{at}.expires"), "is not a time; write for example \"2027-01-01T00:00:00Z\"");
            None
        }
    };
    let mut needed = |member: &str, value: Option<String>| {
        if value.is_none() {
            mistake(at.to_owned(), &format!("missing key `{member}`; add it"));
        }
        value
    };
    let id = needed(id_member, id);
    let sha256 = if scheme.is_bearer { Some(needed("sha256", sha256)?) } else { None };
    Some(IssuedConfig { scheme, index, id: id?, sha256, purpose, expires })
}

/// All keys with their secrets, and every mistake in them.
pub(in crate::app::config) fn finish(
    config: &compat::Config,
    clients: &BTreeMap<String, ClientConfig>,
    read: &mut Draft,
) -> Vec<Issued> {
    read.section("compat", config.validate());
    if config.enabled && !clients.values().any(ClientConfig::has_issued) {
        let problem = "is true, but no client has access_keys, app_codes or app_keys; make one with `idgate key new \
                       CLIENT \
                       --kind access-key`";
        read.mistake("compat.enabled", problem);
    }
    let mut issued = Vec::new();
    let mut known = BTreeMap::new();
    for (client, section) in clients {
        for key in &section.issued {
            let at = format!("clients.{client}.{}", key.at());
            let hash = key.sha256.as_ref().map(|hash| hash.to_ascii_lowercase());
            if hash.as_deref() == Some(HASH_OF_NOTHING) {
                let Scheme { name, issued, .. } = key.scheme;
                let problem = format!(
                    "is the SHA-256 of the empty text, so anybody without an {} would be let in; `idgate key new CLIENT \
                     --kind {name}` makes one",
                    issued.secret_label
                );
                read.mistake(format!("{at}.sha256"), problem);
            }
            check_unique(&mut known, key.scheme.issued.noun, hash.as_ref().unwrap_or(&key.id), &at, read);
            let proof = match &key.sha256 {
                Some(hash) => Proof::Hash(hash.clone()),
                None => match secret(key.scheme, &at, read) {
                    Some(secret) => Proof::Secret(secret),
                    None => continue,
                },
            };
            let IssuedConfig { scheme, id, purpose, expires, .. } = key.clone();
            issued.push(Issued { client: client.clone(), scheme, id, proof, purpose, expires });
        }
    }
    issued
}

/// Keys must be unique, because each belongs to one client.
fn check_unique(
    known: &mut BTreeMap<(&'static str, String), String>,
    kind: &'static str,
    id: &str,
    at: &str,
    read: &mut Draft,
) {
    if let Some(other) = known.insert((kind, id.to_owned()), at.to_owned()) {
        read.mistake(at, format!("is the same {kind} as {other}; make a new one"));
    }
}

fn secret(scheme: &Scheme, at: &str, read: &mut Draft) -> Option<Secret> {
    let key = format!("{at}.secret");
    let secret = read.secrets.remove(&key);
    match &secret {
        None if read.mistakes.iter().any(|mistake| mistake.key == key) => {}
        None => read.mistake(key, "is missing; write { file = \"PATH\" } or { env = \"NAME\" }"),
        Some(secret) if secret.expose().len() < SHORTEST_SECRET => {
            let how = format!("`idgate key new CLIENT --kind {}` makes one", scheme.name);
            read.mistake(key, format!("is shorter than {SHORTEST_SECRET} characters, so it could be guessed; {how}"));
        }
        Some(_) => {}
    }
    secret
}
