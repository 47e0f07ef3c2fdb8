//! The JSON document with temporary keys, read and written: flat from the metadata service, nested from STS.
//!
//! Invariant: keys without an expiry or with an empty part are rejected.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::personal::Secret;
use crate::providers::Credential;
use crate::providers::codec::json::{self, Object};
use crate::providers::source::{Granted, Miss, MissReason, Step};
use crate::providers::tencent::codes;
use crate::providers::tencent::scheme::{SECRET_KEY, is_plain};
use crate::providers::tencent::wire::Refused;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Keys {
    pub(super) tmp_secret_id: Option<String>,
    pub(super) tmp_secret_key: Option<Zeroizing<String>>,
    pub(super) token: Option<Zeroizing<String>>,
    /// Expiry in Unix seconds, where it is in the same object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expired_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
}

/// The response of STS.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    pub(super) response: Object<StsReply>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StsReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Object<Refused>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<Object<Keys>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expired_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
}

impl Keys {
    /// Builds the document for `granted`, for a simulator.
    pub(super) fn of(granted: &Granted) -> Self {
        let key = &granted.credential;
        let wiped = |secret: &Secret| Zeroizing::new(secret.expose().to_owned());
        Self {
            tmp_secret_id: Some(key.id().to_owned()),
            tmp_secret_key: Some(wiped(key.secret())),
            token: key.token().map(wiped),
            expired_time: granted.ends.map(Timestamp::as_second),
            code: None,
        }
    }

    /// The credential, if it is complete and not expired at `now`.
    fn granted(self, from: &'static str, ends: Option<i64>, now: Timestamp) -> Result<Granted, MissReason> {
        let ends = ends.ok_or(MissReason::MissingField)?;
        let ends = Timestamp::from_second(ends).map_err(|_| MissReason::Garbage)?;
        let secret = self.tmp_secret_key.ok_or(MissReason::MissingField)?;
        let token = self.token.filter(|text| !text.is_empty()).ok_or(MissReason::MissingField)?;
        if ends <= now {
            return Err(MissReason::AlreadyEnded);
        }
        key(from, &self.tmp_secret_id.unwrap_or_default(), &secret, Some(&token), Some(ends))
    }
}

/// The result of a response from the metadata service.
pub(super) fn read_flat(source: &'static str, body: &[u8], now: Timestamp) -> Result<Step, MissReason> {
    let keys: Keys = json::read(body).ok_or(MissReason::Garbage)?;
    if keys.code.as_deref() != Some("Success") {
        return Err(MissReason::NotSuccess);
    }
    let ends = keys.expired_time;
    keys.granted(source, ends, now).map(Step::Done)
}

/// The result of a response from STS, which reports errors with a success status.
pub(super) fn read_sts(source: &'static str, body: &[u8], now: Timestamp) -> Result<Step, MissReason> {
    let Envelope { response: Object(reply) } = json::read(body).ok_or(MissReason::Garbage)?;
    if let Some(Object(refused)) = reply.error {
        let code = codes::error(&refused.code, "").map(|row| row.code);
        return Ok(Step::Failed(vec![Miss { source, reason: MissReason::NotSuccess, code }]));
    }
    let Object(keys) = reply.credentials.ok_or(MissReason::MissingField)?;
    keys.granted(source, reply.expired_time, now).map(Step::Done)
}

/// Builds a key. Parts that are empty or contain characters not allowed in keys are rejected.
pub(super) fn key(
    from: &'static str,
    id: &str,
    secret: &str,
    token: Option<&str>,
    ends: Option<Timestamp>,
) -> Result<Granted, MissReason> {
    for text in [id, secret, token.unwrap_or("none")] {
        if text.is_empty() {
            return Err(MissReason::MissingField);
        }
        if !is_plain(text) {
            return Err(MissReason::Garbage);
        }
    }
    let credential = Credential::new(&SECRET_KEY, id, Secret::new(secret)).with_token(token.map(Secret::new));
    Ok(Granted { credential, ends, from })
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}
