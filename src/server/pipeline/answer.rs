//! The last step: a verdict is written down, and only then can be delivered.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use uuid::Uuid;

use crate::domain::clock::Moment;
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};
use crate::server::audit::{AuditEntry, Written};
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
    /// Whether it is on the disk, or there is no ledger. Only then can it finish an idempotency key.
    pub(in crate::server) is_kept: bool,
    delivery: Delivery,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// Its first caller gets it; with its age, the time for which it is still remembered, and whether another replica
    /// made the call.
    First { age: Duration, left: Duration, by_replica: bool },
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

    /// Writes it down, and waits until the other replicas have it. `must_last`: on the disk before this returns, so that it can finish an idempotency key, unless
    /// [`Delivered::is_kept`] says otherwise; without it, a verdict that cost nothing is only queued.
    ///
    /// # Errors
    /// When a verdict that cost money cannot be written.
    pub(in crate::server) async fn write(self, must_last: bool) -> Result<Delivered, WriteFailed> {
        let Self { id, answer, receipt, audit } = self;
        let is_kept = match audit {
            None => true,
            // Boxed, because requests without a ledger would otherwise carry the space of an entry that is being written.
            Some(audit) => match Box::pin(audit.verdict(&answer, receipt, must_last)).await {
                Ok(written) => written == Written::OnDisk,
                Err(audit) => return Err(WriteFailed { audit, attempts: answer.attempts }),
            },
        };
        if answer.landing.is_under_way() {
            Box::pin(answer.landing.wait()).await;
        }
        let (age, left) = (answer.age, answer.left.unwrap_or_default());
        let delivery = Delivery::First { age, left, by_replica: answer.by_replica };
        let verified = Verified {
            id,
            verdict: answer.verdict,
            provider: answer.provider,
            provider_request_id: answer.provider_request_id,
            verified_at: answer.verified_at,
            source: answer.source,
            attempts: answer.attempts,
        };
        Ok(Delivered { verified: Arc::new(verified), is_kept, delivery })
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
        Self { verified, is_kept: true, delivery: Delivery::Replayed }
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
        let Delivery::First { age, left, by_replica } = self.delivery else {
            headers.insert(headers::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            return;
        };
        // A provider's protocol may tell a verdict with another status, which no cache knows about.
        if status == StatusCode::OK {
            headers.insert(headers::CACHE_STATUS, headers::cache_status(self.verified.source, left, by_replica));
        }
        if self.verified.source == Source::Cache {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::{Clock, Ids};
    use crate::storage::ledger::{Config, Flight, Ledger};
    use crate::verify::{JoinedFlight, Landing, Ticket};

    #[tokio::test]
    async fn a_cached_verdict_that_cannot_be_written_is_told_but_finishes_no_key() {
        let folder = std::env::temp_dir().join(format!("idgate-answer-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let config = format!("file = {:?}\nkeep = \"400 days\"", folder.join("ledger.db"));
        let config: Config = toml::from_str(&config).unwrap();
        let ids = Ids::new(Uuid::nil, Uuid::nil);
        let clock = Clock::fixed(jiff::Timestamp::UNIX_EPOCH);
        let ledger = Ledger::open(&config, clock.clone(), ids).await.unwrap();
        let mut kept = Vec::new();
        for is_closed in [false, true] {
            if is_closed {
                ledger.close().await;
            }
            let ticket = Ticket {
                id: Uuid::from_u128(u128::from(is_closed)),
                key_id: Arc::default(),
                reference: None,
                configuration: Arc::default(),
                joined: JoinedFlight::default(),
            };
            let answer = Answer {
                verdict: Verdict::Match,
                provider: Arc::from("p"),
                provider_request_id: None,
                verified_at: clock.moment(),
                source: Source::Cache,
                attempts: Vec::new(),
                age: Duration::ZERO,
                left: None,
                by_replica: false,
                flight: Flight::NONE,
                landing: Landing::default(),
            };
            let mut audit = AuditEntry::open(&ledger, &ticket, &Arc::default(), &Arc::default()).unwrap();
            audit.is_under_claim(Some(Uuid::max()));
            kept.push(Unwritten::new(ticket.id, answer, None, Some(audit)).write(true).await.unwrap().is_kept);
        }
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(kept, [true, false]);
    }
}
