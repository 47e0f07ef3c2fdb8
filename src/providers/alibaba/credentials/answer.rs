//! The JSON document with temporary keys, read and written: flat from the metadata service and URIs, nested from STS.
//!
//! Invariant: keys without an expiry or with an empty member are rejected; a member of the wrong type makes the
//! document malformed.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::personal::Secret;
use crate::providers::Credential;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::alibaba::seal;
use crate::providers::codec::json::{self, Object};
use crate::providers::source::{Granted, MissReason};

/// The response of the metadata service and URIs; STS nests it in its own document.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Keys {
    /// `Success`, if present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_secret: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_token: Option<Zeroizing<String>>,
    /// Expiry, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
}

/// The response of STS.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StsReply {
    /// The error code, in case STS reports an error with a success status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default)]
    pub credentials: Option<Object<Keys>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Whether a response must contain `"Code": "Success"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeRule {
    Required,
    /// The code may be absent; any other code is an error.
    IfPresent,
}

impl Keys {
    pub(super) fn read(body: &[u8], rule: CodeRule) -> Result<Self, MissReason> {
        let keys: Self = json::read(body).ok_or(MissReason::Garbage)?;
        match (keys.code.as_deref(), rule) {
            (Some("Success"), _) | (None, CodeRule::IfPresent) => Ok(keys),
            _ => Err(MissReason::NotSuccess),
        }
    }

    /// Reads the keys in a response of STS.
    pub(super) fn read_sts(body: &[u8]) -> Result<Self, MissReason> {
        let reply: StsReply = json::read(body).ok_or(MissReason::Garbage)?;
        if reply.code.is_some_and(|code| code != "Success") {
            return Err(MissReason::NotSuccess);
        }
        reply.credentials.map(|Object(keys)| keys).ok_or(MissReason::MissingField)
    }

    /// The credential, if it is complete and not expired at `now`.
    pub(super) fn granted(self, from: &'static str, now: Timestamp) -> Result<Granted, MissReason> {
        let secret = self.access_key_secret.ok_or(MissReason::MissingField)?;
        let token = self.security_token.filter(|text| !text.is_empty()).ok_or(MissReason::MissingField)?;
        let ends = self.expiration.filter(|text| !text.is_empty()).ok_or(MissReason::MissingField)?;
        let ends: Timestamp = ends.parse().map_err(|_| MissReason::Garbage)?;
        if ends <= now {
            return Err(MissReason::AlreadyEnded);
        }
        key(from, &self.access_key_id.unwrap_or_default(), &secret, Some(&token), Some(ends))
    }

    /// Builds the document for `granted`, for a simulator. Only temporary AccessKeys have one.
    pub fn of(granted: &Granted) -> Self {
        let Some(key) = granted.credential.of(&ACCESS_KEY) else { return Self::default() };
        let wiped = |secret: &Secret| Zeroizing::new(secret.expose().to_owned());
        Self {
            code: None,
            access_key_id: Some(key.id().to_owned()),
            access_key_secret: Some(wiped(key.secret())),
            security_token: key.token().map(wiped),
            expiration: granted.ends.map(seal::time_stamp),
        }
    }
}

/// Builds an AccessKey. Parts that are empty or contain characters not allowed in keys are rejected, because they go
/// into headers.
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
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(MissReason::Garbage);
        }
    }
    let credential = Credential::new(&ACCESS_KEY, id, Secret::new(secret)).with_token(token.map(Secret::new));
    Ok(Granted { credential, ends, from })
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T08:00:00Z";

    fn read(body: &str, rule: CodeRule) -> Result<Granted, MissReason> {
        Keys::read(body.as_bytes(), rule)?.granted("test", NOW.parse().unwrap())
    }

    fn with(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut document = serde_json::json!({
            "Code": "Success", "AccessKeyId": "STS.id", "AccessKeySecret": "secret", "SecurityToken": "token+/=",
            "Expiration": "2026-11-22T09:00:00Z", "LastUpdated": "2026-11-22T03:00:00Z",
        });
        change(&mut document);
        document.to_string()
    }

    #[test]
    fn good_keys_are_read_and_written_back() {
        let granted = read(&with(|_| ()), CodeRule::Required).unwrap();
        assert_eq!(granted.ends, Some("2026-11-22T09:00:00Z".parse().unwrap()));
        let again = Keys { code: Some("Success".to_owned()), ..Keys::of(&granted) };
        let again = read(&json::write(&again), CodeRule::Required).unwrap();
        let key = again.credential;
        let token = key.token().unwrap();
        assert_eq!((key.id(), key.secret().expose(), token.expose()), ("STS.id", "secret", "token+/="));
    }

    #[test]
    fn a_code_may_be_missing_where_the_vendors_own_clients_disagree_and_never_another() {
        let without = with(|document| drop(document.as_object_mut().unwrap().remove("Code")));
        assert!(read(&without, CodeRule::IfPresent).is_ok());
        assert_eq!(read(&without, CodeRule::Required).unwrap_err(), MissReason::NotSuccess);
        for rule in [CodeRule::Required, CodeRule::IfPresent] {
            let other = with(|document| document["Code"] = "Failed".into());
            assert_eq!(read(&other, rule).unwrap_err(), MissReason::NotSuccess);
        }
    }

    #[test]
    fn every_member_is_needed_and_none_may_be_empty_or_of_another_type() {
        for member in ["AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"] {
            let without = with(|document| drop(document.as_object_mut().unwrap().remove(member)));
            let empty = with(|document| document[member] = "".into());
            let null = with(|document| document[member] = serde_json::Value::Null);
            for bad in [without, empty, null] {
                assert_eq!(read(&bad, CodeRule::Required).unwrap_err(), MissReason::MissingField, "{bad}");
            }
            let number = with(|document| document[member] = 1.into());
            assert_eq!(read(&number, CodeRule::Required).unwrap_err(), MissReason::Garbage, "{number}");
        }
        let spaced = with(|document| document["SecurityToken"] = "to\nken".into());
        assert_eq!(read(&spaced, CodeRule::Required).unwrap_err(), MissReason::Garbage);
    }

    #[test]
    fn what_is_no_document_or_has_ended_is_no_credential() {
        for garbage in ["", "[]", "null", "{", "<html>", "\"STS.id\""] {
            assert_eq!(read(garbage, CodeRule::IfPresent).unwrap_err(), MissReason::Garbage, "{garbage}");
        }
        for (ends, reason) in [
            ("tomorrow", MissReason::Garbage),
            (NOW, MissReason::AlreadyEnded),
            ("1970-01-01T00:00:00Z", MissReason::AlreadyEnded),
        ] {
            let document = with(|document| document["Expiration"] = ends.into());
            assert_eq!(read(&document, CodeRule::Required).unwrap_err(), reason, "{ends}");
        }
        assert_eq!(Keys::read_sts(b"{}").unwrap_err(), MissReason::MissingField);
        assert_eq!(Keys::read_sts(br#"{"Credentials":[]}"#).unwrap_err(), MissReason::Garbage);
    }
}
