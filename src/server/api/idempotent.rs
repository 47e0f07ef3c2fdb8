//! Questions with an idempotency key. The key is claimed before anything is called, and only a verdict finishes it.
//!
//! Invariants: nothing is called under a key that could not be claimed, since that key may have an answer already. The
//! answer that finishes a key is written in its own task, so that memory and ledger agree even if the caller
//! disconnects.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::state::Verify;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::request_scope::RequestScope;
use crate::server::idempotency::{Claim, ClaimResult, InProgress, Keyed, LedgerLookup, Lookup, LookupWait};
use crate::server::pipeline::{
    Delivered, Unwritten, Verified, WriteFailed, ask, ask_and_write, overloaded, traced, unwritten,
};
use crate::server::snapshot::Snapshot;
use crate::storage::ledger::Ledger;
use crate::verify::{Avoided, Failure, FailureKind, Freshness, NoPlace, Question};

/// Answers a question under an idempotency key.
///
/// # Errors
/// `idempotency_key_reused` or `idempotency_in_progress`, or the reason why there is no verdict.
pub(super) async fn ask_once(
    verify: &Verify,
    now: &Snapshot,
    key: &str,
    question: Question,
    body: &VerifyBody,
    scope: &mut RequestScope,
) -> Result<Delivered, Refused> {
    let deadline = Instant::now() + question.patience;
    let keyed = digests(verify, key, &question, body);
    loop {
        let monotonic = verify.pipeline.clock.monotonic();
        let lookup = match verify.idempotency.claim(&question.client, keyed.key, keyed.body, monotonic) {
            ClaimResult::Unknown(lookup) => begin_lookup(verify, lookup, &keyed, &question),
            ClaimResult::LookedUp(lookup) => lookup,
            ClaimResult::Claimed(claim) => return work(verify, now, claim, question, deadline, scope).await,
            // A replay must respect the client's maximum age. If the answer is too old, the key starts over.
            ClaimResult::Done(done) if !question.freshness.may_be_told(age_of(verify, &done.answer)) => {
                match verify.idempotency.start_over(&question.client, keyed.key, &done) {
                    Some(lookup) => begin_lookup(verify, lookup, &keyed, &question),
                    None => continue,
                }
            }
            ClaimResult::Done(done) => return Ok(replay(now, done.answer, scope)),
            ClaimResult::InProgress(first) => {
                let _place = now.runtime.place_to_wait(&question.client).map_err(|NoPlace| overloaded())?;
                match wait_for(first, deadline, scope).await? {
                    Some(answer) => return Ok(replay(now, answer, scope)),
                    None => continue,
                }
            }
            ClaimResult::Reused => {
                let detail = "was used with another body before; use a new key";
                let problem = Problem::new(Code::IdempotencyKeyReused);
                return Err(Box::new(problem.with_error("", "idempotency_key_reused", detail)));
            }
        };
        let _place = now.runtime.place_to_wait(&question.client).map_err(|NoPlace| overloaded())?;
        // This wait is not limited by the caller's deadline, since nothing may begin before the key's owner is known.
        if !lookup.is_known().await {
            return ask_memory(verify, now, question, scope).await;
        }
    }
}

fn digests(verify: &Verify, key: &str, question: &Question, body: &VerifyBody) -> Keyed {
    let digest_key = &verify.pipeline.digest_key;
    let digest = |context: &str, parts: &[&[u8]]| digest_key.digest(context, parts);
    let VerifyBody { name, id_number, purpose: _in_question, reference, include_person: _ } = body;
    let parts = [name.expose(), id_number.expose(), &question.purpose, reference.as_deref().unwrap_or_default()];
    let wants_person = [u8::from(body.wants_person())];
    let parts = [&parts.map(str::as_bytes)[..], &[&wants_person]].concat();
    Keyed {
        key: digest("idempotency-key/v1", &[question.client.as_bytes(), key.as_bytes()]),
        body: digest("idempotent-body/v1", &parts),
        person: digest_key.person(&question.subject),
    }
}

/// Starts the lookup of the key and returns at once.
fn begin_lookup(verify: &Verify, lookup: Lookup, keyed: &Keyed, question: &Question) -> LookupWait {
    let (pipeline, waiting) = (&verify.pipeline, lookup.wait());
    if !pipeline.ledger.is_on() {
        // Without a ledger, a key that is not in memory is free.
        let owner = keyed.owner(pipeline.clock.monotonic(), None);
        let mut unsettled = Some(lookup);
        while let Some(lookup) = unsettled {
            let erasures = lookup.erasures();
            unsettled = lookup.claimed(owner, erasures).err();
        }
        return waiting;
    }
    let in_ledger = LedgerLookup {
        ledger: pipeline.ledger.clone(),
        clock: pipeline.clock.clone(),
        client: Arc::clone(&question.client),
        subject: pipeline.in_ledger(&keyed.person),
        keyed: *keyed,
    };
    verify.idempotency.tasks.spawn(in_ledger.run(lookup));
    waiting
}

/// Waits for the first request with the key. `None` if it gave up; the key must then be claimed again.
async fn wait_for(
    first: InProgress,
    deadline: Instant,
    scope: &mut RequestScope,
) -> Result<Option<Arc<Verified>>, Refused> {
    let waiting = scope.wait();
    let ended = tokio::time::timeout_at(deadline, first.wait()).await;
    drop(waiting);
    match ended {
        Ok(Some(Ok(answer))) => Ok(Some(answer)),
        Ok(Some(Err(problem))) => Err(Box::new(Problem::clone(&problem))),
        Ok(None) => Ok(None),
        Err(_) => Err(Box::new(Problem::new(Code::IdempotencyInProgress).with_retry_after(SOON))),
    }
}

/// Answers the question of the request that claimed the key.
async fn work(
    verify: &Verify,
    now: &Snapshot,
    claim: Claim,
    question: Question,
    deadline: Instant,
    scope: &mut RequestScope,
) -> Result<Delivered, Refused> {
    if let Some(audit) = scope.audit() {
        audit.is_under_claim(claim.id());
    }
    let held = Held::new(verify, &claim);
    let clock = &verify.pipeline.clock;
    let since_first_use = claim.since_first_use(clock.monotonic());
    let freshness = since_first_use.map_or(question.freshness, |used| question.freshness.or_since(used));
    let question = Question { freshness, ..question };
    let recorded = match (since_first_use, claim.id()) {
        // The caller of an earlier request may have left, or the process ended, before its verdict came.
        (Some(used), Some(_)) => now.runtime.recorded(&question, clock.earliest_within(used).as_millisecond()).await,
        _ => Ok(None),
    };
    let asked = match recorded {
        Ok(Some(answer)) => Ok(unwritten(&verify.pipeline, now, &question, answer, scope)),
        Ok(None) => {
            let patience = deadline.saturating_duration_since(Instant::now());
            ask(&verify.pipeline, now, &Question { patience, ..question }, scope).await
        }
        Err(error) => {
            tracing::error!(%error, "ledger: what is recorded since a key's first use cannot be read");
            drop(claim);
            return ask_memory(verify, now, question, scope).await;
        }
    };
    match asked {
        Ok(unwritten) => {
            let began = scope.traced_now();
            let written = finish(verify, (claim, held), unwritten).await;
            traced(began, written.as_ref().ok(), scope);
            written.map_err(|lost| match lost {
                Some(lost) => lost.refuse(scope),
                None => Box::new(Problem::new(Code::Internal)),
            })
        }
        Err(problem) => {
            if problem.code().is_everybodys() {
                claim.fail(Arc::new(Problem::clone(&problem)));
            }
            Err(problem)
        }
    }
}

/// A key that this request holds before all replicas; given back on drop, unless it was finished.
struct Held {
    ledger: Ledger,
    tasks: TaskTracker,
    claim: Option<(Uuid, i32)>,
}

impl Held {
    fn new(verify: &Verify, claim: &Claim) -> Self {
        let ledger = verify.pipeline.ledger.clone();
        let claim = claim.id().filter(|_| ledger.is_shared()).map(|id| (id, claim.term()));
        Self { ledger, tasks: verify.idempotency.tasks.clone(), claim }
    }

    fn finished(mut self) {
        self.claim = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((claim, term)) = self.claim.take() {
            let ledger = self.ledger.clone();
            self.tasks.spawn(async move { ledger.release(claim, term).await });
        }
    }
}

/// Writes the verdict and, once it is on disk, finishes the key with it. If there is a ledger, this continues when the
/// caller disconnects; otherwise the ledger could hold a finished key that is still open in memory.
///
/// # Errors
/// If the verdict cannot be written; `None` if the writing task was lost.
async fn finish(
    verify: &Verify,
    (claim, held): (Claim, Held),
    unwritten: Unwritten,
) -> Result<Delivered, Option<WriteFailed>> {
    let is_owed = unwritten.is_owed();
    let write = async move {
        let written = unwritten.write(true).await;
        // Otherwise the key is free again: a restart would not know this answer.
        if let Ok(delivered) = &written
            && delivered.is_kept
        {
            held.finished();
            claim.finish(Arc::clone(&delivered.verified));
        }
        written
    };
    if !is_owed {
        return write.await.map_err(Some);
    }
    let (done, written) = oneshot::channel();
    verify.idempotency.tasks.spawn(async move {
        // If the caller has disconnected, nobody receives this.
        let _ = done.send(write.await);
    });
    written.await.map_err(|_| None)?.map_err(Some)
}

/// Answers the question while its key cannot be claimed: from the cache only, without a call.
async fn ask_memory(
    verify: &Verify,
    now: &Snapshot,
    question: Question,
    scope: &mut RequestScope,
) -> Result<Delivered, Refused> {
    let wanted_memory = question.freshness.only_if_cached;
    let freshness = Freshness { only_if_cached: true, ..question.freshness };
    let asked = ask_and_write(&verify.pipeline, now, &Question { freshness, ..question }, scope).await;
    asked.map_err(|problem| match problem.code() {
        Code::NotCached if !wanted_memory => Box::new(Problem::from(Failure {
            retry_after: Some(SOON),
            ..Failure::bare(FailureKind::LedgerUnavailable)
        })),
        _ => problem,
    })
}

/// Time since the provider gave this answer.
fn age_of(verify: &Verify, answer: &Verified) -> Duration {
    verify.pipeline.clock.monotonic().since(answer.verified_at.monotonic)
}

fn replay(now: &Snapshot, answer: Arc<Verified>, scope: &mut RequestScope) -> Delivered {
    now.runtime.spared(Avoided::Idempotent, &answer.provider, answer.verdict);
    // The ledger already has this answer, so this request writes no entry.
    drop(scope.take_audit());
    Delivered::replayed(answer)
}
