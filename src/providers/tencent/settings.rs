//! The settings: `secret_id`, `secret_key` and `security_token`, or the table `credentials`; `region`.

use std::sync::Arc;

use super::client::Client;
use super::credentials;
use super::scheme::{SECRET_KEY, is_plain, is_region};
use crate::domain::personal::Secret;
use crate::providers::{Access, Configured, Credential, Mistakes, Settings};

const SECRETS: [&str; 3] = ["secret_id", "secret_key", "security_token"];

/// Builds the protocol from the settings.
///
/// # Errors
/// All mistakes, as (key, fix).
pub(super) fn configure(settings: &Settings) -> Result<Configured, Mistakes> {
    let mut mistakes = Mistakes::new();
    let access = if credentials::is_present(settings) {
        for key in SECRETS.iter().filter(|key| settings.secret.contains_key(**key)) {
            mistakes.push((key, "excludes credentials; remove one or the other".to_owned()));
        }
        credentials::configure(settings, &mut mistakes).map(|source| Access::Fetched(Arc::new(source)))
    } else {
        given(settings, &mut mistakes).map(Access::Given)
    };
    let region = settings.plain.get("region").cloned();
    if region.as_deref().is_some_and(|region| !is_region(region)) {
        mistakes.push(("region", "is no region; write for example \"ap-guangzhou\", or leave it out".to_owned()));
    }
    // The vendor's clients have a setting for it.
    if settings.plain.contains_key("encryption") {
        mistakes.push(("encryption", "is not supported; TLS protects the question".to_owned()));
    }
    let known = |key: &str| SECRETS.contains(&key) || matches!(key, "region" | "encryption");
    for key in settings.plain.keys().chain(settings.secret.keys()) {
        if !known(key) && !credentials::is_ours(key) {
            let takes = format!("takes no `{key}`; it takes {}, credentials and region", SECRETS.join(", "));
            mistakes.push(("driver", takes));
        }
    }
    match access {
        Some(access) if mistakes.is_empty() => Ok(Configured { protocol: Arc::new(Client { region }), access }),
        _ => Err(mistakes),
    }
}

/// The credential written in the section.
fn given(settings: &Settings, mistakes: &mut Mistakes) -> Option<Credential> {
    let mut part = |key: &'static str, is_needed: bool| {
        let text = settings.secret.get(key).map(Secret::expose);
        match text {
            None | Some("") if is_needed => mistakes.push((key, "is missing".to_owned())),
            // Also catches the trailing line feed of a file.
            Some(text) if !is_plain(text) => {
                mistakes.push((key, "holds white space or another character that no key has".to_owned()));
            }
            _ => {}
        }
        text.filter(|text| !text.is_empty())
    };
    let (id, key, token) = (part("secret_id", true), part("secret_key", true), part("security_token", false));
    Some(Credential::new(&SECRET_KEY, id?, Secret::new(key?)).with_token(token.map(Secret::new)))
}
