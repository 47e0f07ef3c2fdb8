//! The documents: the envelope of every response, read and written, and the request.
//!
//! Invariant: arrays are not accepted as objects, and duplicates of decisive members are rejected.

use serde::{Deserialize, Serialize};

use crate::providers::codec::json::{Lenient, Object, Scalar};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    pub(super) response: Object<Reply>,
}

/// The content of a response: a Result, or an error.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Object<Refused>>,
    /// A string; the official clients also accept a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Scalar>,
    /// Informational only; never used for a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Lenient<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<Lenient<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refused {
    pub(super) code: String,
    /// May quote parameters or name the account. It is compared in one case and never kept.
    #[serde(default)]
    pub(super) message: Option<Lenient<String>>,
}

/// The request body, as written.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Question<'a> {
    pub(super) id_card: &'a str,
    pub(super) name: &'a str,
}
