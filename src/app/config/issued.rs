//! The keys that are issued to callers of the providers' protocols: each with the secret that was read apart from it, and
//! what must hold between all of them.

use std::collections::BTreeMap;

use super::Read;
use super::sections::HASH_OF_NOTHING;
use crate::domain::personal::Secret;
use crate::server::auth::callers::ClientConfig;
use crate::server::auth::issued_keys::{Issued, Proof};
use crate::server::compat;

/// Whoever sees one signed request could try out a shorter one.
const SHORTEST_SECRET: usize = 20;

/// All of them, and every mistake in them.
pub(super) fn finish(
    config: &compat::Config,
    clients: &BTreeMap<String, ClientConfig>,
    read: &mut Read,
) -> Vec<Issued> {
    read.section("compat", config.validate());
    if config.enabled && !clients.values().any(ClientConfig::has_issued) {
        let problem = "is true, and no client has access_keys, app_codes or app_keys, so nobody could ask; `idgate key \
                       new CLIENT --kind access-key` makes one";
        read.mistake("compat.enabled", problem);
    }
    let mut issued = Vec::new();
    let mut known = BTreeMap::new();
    for (client, section) in clients {
        let at = format!("clients.{client}");
        for (index, key) in section.access_keys.iter().enumerate() {
            let at = format!("{at}.access_keys[{index}]");
            once(&mut known, "access key", &key.id, &at, read);
            let Some(secret) = secret(&at, read) else { continue };
            let proof = Proof::AccessKey { id: key.id.clone(), secret };
            issued.push(Issued { client: client.clone(), proof, purpose: key.purpose.clone(), expires: key.expires });
        }
        for (index, key) in section.app_keys.iter().enumerate() {
            let at = format!("{at}.app_keys[{index}]");
            once(&mut known, "app key", &key.key, &at, read);
            let Some(secret) = secret(&at, read) else { continue };
            let proof = Proof::AppKey { key: key.key.clone(), secret };
            issued.push(Issued { client: client.clone(), proof, purpose: key.purpose.clone(), expires: key.expires });
        }
        for (index, code) in section.app_codes.iter().enumerate() {
            let at = format!("{at}.app_codes[{index}]");
            let hash = code.sha256.to_ascii_lowercase();
            if hash == HASH_OF_NOTHING {
                let problem = "is the SHA-256 of nothing, so everybody without an AppCode would be let in; `idgate key \
                               new CLIENT --kind app-code` makes one";
                read.mistake(format!("{at}.sha256"), problem);
            }
            once(&mut known, "AppCode", &hash, &at, read);
            let proof = Proof::AppCode { id: code.id.clone(), sha256: code.sha256.clone() };
            issued.push(Issued { client: client.clone(), proof, purpose: code.purpose.clone(), expires: code.expires });
        }
    }
    issued
}

/// A key opens one door for one client.
fn once(known: &mut BTreeMap<(&'static str, String), String>, kind: &'static str, id: &str, at: &str, read: &mut Read) {
    if let Some(other) = known.insert((kind, id.to_owned()), at.to_owned()) {
        read.mistake(at, format!("is the same {kind} as {other}; make a new one"));
    }
}

fn secret(at: &str, read: &mut Read) -> Option<Secret> {
    let key = format!("{at}.secret");
    let secret = read.secrets.remove(&key);
    match &secret {
        None if read.mistakes.iter().any(|mistake| mistake.key == key) => {}
        None => read.mistake(key, "is missing; write { file = \"PATH\" } or { env = \"NAME\" }"),
        Some(secret) if secret.expose().len() < SHORTEST_SECRET => {
            let how = "`idgate key new CLIENT --kind access-key` makes one";
            read.mistake(
                key,
                format!("is shorter than {SHORTEST_SECRET} characters, so that it could be guessed; {how}"),
            );
        }
        Some(_) => {}
    }
    secret
}
