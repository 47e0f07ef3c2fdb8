//! What every edge does between knowing who asks and asking: rate, purpose, ledger, rights, local rules; then the day.
//!
//! Invariant: there is one way from a request to a [`Question`], whatever protocol it came in.

use std::sync::Arc;
use std::time::Duration;

use super::{Api, Code, Problem, Refused};
use crate::server::auth::callers::{Caller, Client};
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::request_scope::Trace;
use crate::server::snapshot::Snapshot;
use crate::verify::{Freshness, Question};

/// What a caller may wish for beside an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct Wish {
    /// How old the answer may be.
    pub(in crate::server) freshness: Freshness,
    /// How long the caller waits, if it says so.
    pub(in crate::server) patience: Option<Duration>,
}

impl Api {
    /// Notes who asks, and counts the request against the rate.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(in crate::server) fn let_in(&self, caller: Caller, trace: &mut Trace) -> Result<Arc<Client>, Refused> {
        let client = Arc::clone(&caller.client);
        trace.caller = Some(caller);
        match client.admit() {
            Ok(allowance) => trace.allowance = allowance,
            Err((allowance, wait)) => {
                trace.allowance = Some(allowance);
                return Err(Box::new(Problem::new(Code::RateLimited).with_retry_after(wait)));
            }
        }
        Ok(client)
    }

    /// Makes a question of what `client` wants. It is not counted for its day yet: an edge may still refuse it.
    ///
    /// # Errors
    /// The right that it lacks, or the local rule that name and number break.
    pub(in crate::server) fn pose(
        &self,
        now: &Snapshot,
        client: &Client,
        body: &VerifyBody,
        wish: Wish,
        trace: &mut Trace,
    ) -> Result<Question, Refused> {
        trace.reference.clone_from(&body.reference);
        let purpose = client.purpose(body.purpose.as_deref())?;
        trace.purpose = Some(Arc::clone(&purpose));
        let key_id = trace.caller.as_ref().map(Caller::shown).unwrap_or_default();
        let ticket = self.ticket(now, key_id, body.reference.clone(), trace);
        let freshness = client.rights.freshness(wish.freshness)?;
        client.rights.person(body.wants_person())?;
        let subject = self.check(now, body, trace)?;
        let asked_to_wait = wish.patience.map(|wait| wait.min(now.limits.request_timeout));
        trace.asked_to_wait = asked_to_wait;
        Ok(Question {
            subject: Arc::new(subject),
            client: Arc::clone(&client.name),
            purpose,
            freshness,
            patience: asked_to_wait.unwrap_or(now.limits.request_timeout),
            ticket,
        })
    }
}
