//! Receipts: signed answers that can be verified years later without this gateway. A receipt does not name the person;
//! it has a salted digest that anyone who knows the person can recompute.
//!
//! Invariants: a receipt is built from the ledger entry alone, so it is the same each time (as long as the key is). A
//! caller that may look up an answer may also get its receipt.

use serde::Serialize;
use uuid::Uuid;

use self::keys::Keys;
use super::verification::at;
use crate::domain::receipt::{METHOD, Salt};
use crate::domain::subject::DigestKey;
use crate::domain::verdict::Verdict;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::storage::ledger::Answer;

pub mod keys;

pub(in crate::server) const MEDIA_TYPE: &str = "application/jose";

#[derive(Debug, Serialize)]
struct Claims<'a> {
    jti: Uuid,
    /// Time of the answer, in seconds since 1970.
    iat: i64,
    verdict: &'a str,
    provider: Option<&'a str>,
    provider_request_id: Option<&'a str>,
    /// Time of the verdict at the provider (RFC 3339, UTC).
    verified_at: Option<String>,
    source: Option<&'a str>,
    client: &'a str,
    purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    subject: Person<'a>,
}

/// The person, as a salted digest.
#[derive(Debug, Serialize)]
struct Person<'a> {
    method: &'static str,
    salt: String,
    digest: &'a str,
}

/// Builds and signs the receipt of an answer.
///
/// # Errors
/// `receipt_unavailable`, with the reason and a remedy.
pub(in crate::server) fn sign(keys: &Keys, digest_key: &DigestKey, answer: &Answer) -> Result<String, Refused> {
    if !Verdict::ALL.iter().any(|verdict| verdict.as_str() == answer.outcome) {
        let detail = "was answered without a verdict, so there is nothing to certify; ask again, and take the receipt of \
                      that answer";
        return Err(unavailable("no_verdict", detail));
    }
    let (Some(digest), Some(subject)) = (answer.receipt.as_deref(), answer.subject.as_ref()) else {
        let detail = "was answered while this gateway had no key for receipts; ask the same question again (from memory it \
                      is free), and take the receipt of that answer";
        return Err(unavailable("answered_without_receipts", detail));
    };
    if subject.key != digest_key.id() {
        let detail = format!(
            "was answered under another cache.digest_key (its id is {}), which its salt was made with; its operator can \
             serve it with that key again, or ask the same question again and take the receipt of that answer",
            subject.key
        );
        return Err(unavailable("other_digest_key", &detail));
    }
    let claims = Claims {
        jti: answer.id,
        iat: answer.at_ms.div_euclid(1_000),
        verdict: &answer.outcome,
        provider: answer.provider.as_deref(),
        provider_request_id: answer.provider_request_id.as_deref(),
        verified_at: answer.verified_at_ms.map(at),
        source: answer.source.as_deref(),
        client: &answer.client,
        purpose: &answer.purpose,
        reference: answer.reference.as_deref(),
        subject: Person { method: METHOD, salt: Salt::of(digest_key, answer.id).to_hex(), digest },
    };
    keys.sign(&claims).ok_or_else(|| Box::new(Problem::new(Code::Internal)))
}

/// The problem of a gateway that has no signing key.
pub(in crate::server) fn no_key() -> Refused {
    unavailable("no_receipt_key", "this gateway signs no receipts; its operator names a key with receipts.key")
}

fn unavailable(reason: &'static str, detail: &str) -> Refused {
    Box::new(Problem::new(Code::ReceiptUnavailable).with_error("", reason, detail))
}
