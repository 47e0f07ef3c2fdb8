//! The last step: a verdict is written down, and only then can be delivered.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use uuid::Uuid;

use crate::domain::clock::Moment;
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};
use crate::server::audit::AuditEntry;
use crate::server::http::access_log::Line;
use crate::server::http::attempt;
use crate::server::http::headers;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::request_scope::{Answered, RequestScope};
use crate::verify::{Answer, Attempt, Failure, FailureKind, Source};

/// A verdict that no caller may get yet.
#[derive(Debug)]
pub(in crate::server) struct Unwritten {
    id: Uuid,
    answer: Answer,
    /// The digest of the person that the receipt will show.
    receipt: Option<Digest>,
    audit: Option<AuditEntry>,
}

/// A verdict that the ledger has, as it is kept and replayed. It holds no person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The verification id.
    pub id: Uuid,
    /// The verdict.
    pub verdict: Verdict,
    /// The provider that gave it.
    pub provider: Arc<str>,
    /// The provider's reference for its call.
    pub provider_request_id: Option<RequestId>,
    /// When the provider gave it.
    pub verified_at: Moment,
    /// How it came to its first caller.
    pub source: Source,
    /// The attempts made for that caller's request.
    pub attempts: Vec<Attempt>,
}

/// A verdict on its way to a caller.
#[derive(Debug, Clone)]
pub(in crate::server) struct Delivered {
    pub(in crate::server) verified: Arc<Verified>,
    delivery: Delivery,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// Its first caller gets it; with its age, and the time for which it is still remembered.
    First { age: Duration, left: Duration },
    /// It answered an earlier request with the same idempotency key.
    Replayed,
}

/// A verdict could not be written down, and so cannot be delivered. Holds what a refusal says of it.
#[derive(Debug)]
pub(in crate::server) struct WriteFailed {
    audit: Box<AuditEntry>,
    attempts: Vec<Attempt>,
}

impl Unwritten {
    pub(in crate::server) fn new(id: Uuid, answer: Answer, receipt: Option<Digest>, audit: Option<AuditEntry>) -> Self {
        Self { id, answer, receipt, audit }
    }

    /// Whether it has to be written at all: there is a ledger.
    pub(in crate::server) const fn is_owed(&self) -> bool {
        self.audit.is_some()
    }

    /// Writes it down. `must_last`: on the disk before this returns, since it finishes an idempotency key; otherwise a
    /// verdict that cost nothing is only queued.
    ///
    /// # Errors
    /// When a verdict that cost money cannot be written.
    pub(in crate::server) async fn write(self, must_last: bool) -> Result<Delivered, WriteFailed> {
        let Self { id, answer, receipt, audit } = self;
        if let Some(audit) = audit
            && let Err(audit) = audit.verdict(&answer, receipt, must_last).await
        {
            return Err(WriteFailed { audit, attempts: answer.attempts });
        }
        let delivery = Delivery::First { age: answer.age, left: answer.left.unwrap_or_default() };
        let verified = Verified {
            id,
            verdict: answer.verdict,
            provider: answer.provider,
            provider_request_id: answer.provider_request_id,
            verified_at: answer.verified_at,
            source: answer.source,
            attempts: answer.attempts,
        };
        Ok(Delivered { verified: Arc::new(verified), delivery })
    }
}

impl WriteFailed {
    /// The problem that the caller gets, which the request owes the ledger now.
    pub(in crate::server) fn refuse(self, scope: &mut RequestScope) -> Refused {
        let id = self.audit.id();
        scope.owes(*self.audit);
        let problem = Problem::from(Failure {
            attempts: self.attempts,
            retry_after: Some(SOON),
            ..Failure::bare(FailureKind::LedgerUnavailable)
        });
        Box::new(problem.with_verification_id(id))
    }
}

impl Delivered {
    /// A verdict that answered an earlier request with the same idempotency key. It is in the ledger already.
    pub(in crate::server) const fn replayed(verified: Arc<Verified>) -> Self {
        Self { verified, delivery: Delivery::Replayed }
    }
}

impl Answered for Delivered {
    fn describe<'a>(&'a self, line: &mut Line<'a>) {
        let verified = &*self.verified;
        line.verification_id = Some(verified.id);
        line.verdict = Some(verified.verdict.as_str());
        line.source = Some(verified.source.as_str());
        line.provider = Some(&verified.provider);
        line.provider_request_id = verified.provider_request_id.as_ref().map(RequestId::as_str);
        line.attempts = attempt::in_short(&verified.attempts);
    }

    fn add_headers(&self, status: StatusCode, headers: &mut HeaderMap) {
        let Delivery::First { age, left } = self.delivery else {
            headers.insert(headers::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            return;
        };
        // A provider's protocol may tell a verdict with another status, which no cache knows about.
        if status == StatusCode::OK {
            headers.insert(headers::CACHE_STATUS, headers::cache_status(self.verified.source, left));
        }
        if self.verified.source == Source::Cache {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
    }
}
