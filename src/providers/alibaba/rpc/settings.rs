//! The settings of a driver of the RPC gateway.

use std::sync::Arc;

use super::action::Action;
use super::client::{Client, Signature};
use crate::domain::personal::Secret;
use crate::providers::alibaba::credentials;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::{Access, Configured, Credential, Mistakes, Settings};

const SECRETS: [&str; 3] = ["access_key_id", "access_key_secret", "security_token"];

/// Builds the protocol of `action` from `signature` = `"v3"` (default) or `"v1"` and either `access_key_id`,
/// `access_key_secret` and optional `security_token`, or the table `credentials` (see [`credentials`]).
///
/// # Errors
/// All mistakes, as (key, fix).
pub fn configure(action: &'static Action, settings: &Settings) -> Result<Configured, Mistakes> {
    let mut mistakes = Mistakes::new();
    let access = if credentials::is_present(settings) {
        for key in SECRETS.iter().filter(|key| settings.secret.contains_key(**key)) {
            mistakes.push((key, "excludes credentials; remove one or the other".to_owned()));
        }
        credentials::configure(settings, &mut mistakes).map(|source| Access::Fetched(Arc::new(source)))
    } else {
        given(settings, &mut mistakes).map(Access::Given)
    };
    let signature = match settings.plain.get("signature").map(String::as_str) {
        None | Some("v3") => Signature::V3,
        Some("v1") => Signature::V1,
        Some(_) => {
            mistakes.push(("signature", "must be \"v3\" or \"v1\"".to_owned()));
            Signature::V3
        }
    };
    let unknown_plain = settings.plain.keys().filter(|key| *key != "signature");
    let unknown_secret = settings.secret.keys().filter(|key| !SECRETS.contains(&key.as_str()));
    for key in unknown_plain.chain(unknown_secret).filter(|key| !credentials::is_ours(key)) {
        let takes = format!("takes no `{key}`; it takes {}, credentials and signature", SECRETS.join(", "));
        mistakes.push(("driver", takes));
    }
    match access {
        Some(access) if mistakes.is_empty() => {
            Ok(Configured { protocol: Arc::new(Client { action, signature }), access })
        }
        _ => Err(mistakes),
    }
}

/// The credential written in the section.
fn given(settings: &Settings, mistakes: &mut Mistakes) -> Option<Credential> {
    let mut visible = |key: &'static str, required: bool| {
        let text = settings.secret.get(key).map(Secret::expose);
        match text {
            None | Some("") if required => mistakes.push((key, "is missing".to_owned())),
            // Also catches the trailing line feed of a file.
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') => {
                mistakes.push((key, "holds white space, a comma or another character that no key has".to_owned()));
            }
            _ => {}
        }
        text.filter(|text| !text.is_empty())
    };
    let id = visible("access_key_id", true);
    let secret = visible("access_key_secret", true);
    let security_token = visible("security_token", false).map(Secret::new);
    Some(Credential::new(&ACCESS_KEY, id?, Secret::new(secret?)).with_token(security_token))
}
