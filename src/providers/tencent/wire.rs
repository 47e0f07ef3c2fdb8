//! The documents: the envelope of every answer, both ways, and the question.
//!
//! Invariant: no array passes for an object, and no member that decides anything is read twice.

use serde::{Deserialize, Serialize};

use crate::providers::codec::json::{Lenient, Object, Scalar};

/// Every answer of the service.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    pub(super) response: Object<Reply>,
}

/// What the answer holds: a Result, or an error.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Object<Refused>>,
    /// A string; official clients do not object to a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Scalar>,
    /// For people; nothing is decided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Lenient<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<Lenient<String>>,
}

/// Why there is no Result.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refused {
    pub(super) code: String,
    /// May quote parameters or name the account: it is compared in one case and never kept.
    #[serde(default)]
    pub(super) message: Option<Lenient<String>>,
}

/// The question, as it is written.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Question<'a> {
    pub(super) id_card: &'a str,
    pub(super) name: &'a str,
}
