//! A question under an idempotency key: claimed before anything is asked, final only with a verdict.
//!
//! Who has a key is known in memory (`idempotency`) and, where there is a ledger, on the disk: after a restart a finished key
//! answers from there. Invariants: nothing is called under a key that could not be claimed, since nobody knows then whether it
//! was answered before; a claim is written by a task of its own, so that it is there once, whoever leaves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::idempotency::{Claim, Held, Look, Looking, Owner, not_before};
use super::reply::{self, VerifyReply};
use super::{Api, Refused};
use crate::domain::clock::Clock;
use crate::domain::subject::{Digest, Subject};
use crate::domain::verdict::Verdict;
use crate::server::api::handler::{SOON, Waiting};
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::request_scope::Trace;
use crate::server::http::{code::Code, problem::Problem};
use crate::server::snapshot::Snapshot;
use crate::storage::ledger::{self, Claimed, Flight, Ledger, NotWritten};
use crate::verify::{Avoided, Failure, FailureKind, Freshness, Question, Source};

/// What a key is claimed for.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    key: Digest,
    body: Digest,
    person: Digest,
    include_person: bool,
}

/// Finds out whose a key is, and claims it if it is nobody's.
struct Claiming {
    ledger: Ledger,
    clock: Clock,
    client: Arc<str>,
    subject: ledger::Subject,
    keyed: Keyed,
}

/// What a key was found to be.
enum Whose {
    Ours(Owner),
    Known(Owner, Option<Box<VerifyReply>>),
}

impl Api {
    /// The answer to a question under an idempotency key.
    pub(in crate::server) async fn ask_once(
        &self,
        now: &Snapshot,
        key: &str,
        question: Question,
        body: &VerifyBody,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        let deadline = Instant::now() + question.patience;
        let keyed = self.keyed(key, &question, body);
        loop {
            let looking = match self.idempotency.claim(keyed.key, keyed.body, not_before(&self.clock)).await {
                Claim::Unknown(look) => self.find_out(look, &keyed, &question, trace),
                Claim::Looked(looking) => looking,
                Claim::Held(held) => return self.work(now, held, question, deadline, &keyed, trace).await,
                // Whoever is never told anything older is not told it by a replay either; the key begins anew.
                Claim::Done(done) if !question.freshness.may_be_told(self.age_of(&done.reply)) => {
                    match self.idempotency.begin_anew(keyed.key, &done).await {
                        Some(look) => self.find_out(look, &keyed, &question, trace),
                        None => continue,
                    }
                }
                Claim::Done(done) => return Ok(self.replay(now, &done.reply, &question.subject, &keyed, trace)),
                Claim::Reused => {
                    let detail = "was used with another body before; use a new key";
                    let problem = Problem::new(Code::IdempotencyKeyReused);
                    return Err(Box::new(problem.with_error("", "idempotency_key_reused", detail)));
                }
                Claim::Busy(busy) => {
                    let waiting = Waiting::on(&mut trace.upstream);
                    let ended = tokio::time::timeout_at(deadline, busy.wait()).await;
                    drop(waiting);
                    match ended {
                        Ok(Some(Ok(reply))) => return Ok(self.replay(now, &reply, &question.subject, &keyed, trace)),
                        Ok(Some(Err(problem))) => return Err(Box::new(Problem::clone(&problem))),
                        Ok(None) => continue,
                        Err(_) => {
                            let problem = Problem::new(Code::IdempotencyInProgress);
                            return Err(Box::new(problem.with_retry_after(SOON)));
                        }
                    }
                }
            };
            // However impatient: nothing may begin before it is known. It takes as long as the disk does.
            if !looking.is_known().await {
                return self.ask_memory(now, question, keyed.include_person, trace).await;
            }
        }
    }

    fn keyed(&self, key: &str, question: &Question, body: &VerifyBody) -> Keyed {
        let digest = |context: &str, parts: &[&[u8]]| self.digest_key.digest(context, parts);
        let VerifyBody { name, id_number, purpose: _in_question, reference, include_person: _ } = body;
        let include_person = body.wants_person();
        let parts = [name.expose(), id_number.expose(), &question.purpose, reference.as_deref().unwrap_or_default()];
        let wants_person = [u8::from(include_person)];
        let parts = [&parts.map(str::as_bytes)[..], &[&wants_person]].concat();
        Keyed {
            key: digest("idempotency-key/v1", &[question.client.as_bytes(), key.as_bytes()]),
            body: digest("idempotent-body/v1", &parts),
            person: self.digest_key.person(&question.subject),
            include_person,
        }
    }

    /// Begins to find out whose the key is; nobody has to wait for it.
    fn find_out(&self, look: Look, keyed: &Keyed, question: &Question, trace: &Trace) -> Looking {
        let looking = look.wait();
        let Some(subject) = trace.person.clone() else {
            // No ledger: what memory does not know is nobody's.
            let owner = keyed.owner(self.clock.now().as_millisecond(), None);
            let mut undone = Some(look);
            while let Some(look) = undone {
                let forgettings = look.forgettings();
                undone = look.claimed(owner, forgettings).err();
            }
            return looking;
        };
        let claiming = Claiming {
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            client: Arc::clone(&question.client),
            subject,
            keyed: *keyed,
        };
        self.idempotency.tasks.spawn(claiming.run(look));
        looking
    }

    /// The question of the request that holds the key.
    async fn work(
        &self,
        now: &Snapshot,
        held: Held,
        question: Question,
        deadline: Instant,
        keyed: &Keyed,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        trace.claim = held.claim();
        let patience = deadline.saturating_duration_since(Instant::now());
        let freshness = match held.since_first_use(self.clock.now().as_millisecond()) {
            Some(used) => question.freshness.or_since(used),
            None => question.freshness,
        };
        trace.held = Some(held);
        let result = self.ask(now, Question { patience, freshness, ..question }, keyed.include_person, trace).await;
        // Where an answer was written, it went with that, see `write_finishing`.
        let Some(held) = trace.held.take() else { return result };
        match &result {
            Ok(reply) => held.finish(kept(reply)),
            Err(problem) if problem.code().is_everybodys() => held.fail(Arc::new(Problem::clone(problem))),
            Err(_) => drop(held),
        }
        result
    }

    /// Writes the answer that finishes a key, in a task of its own: the key is finished once its answer is on the disk,
    /// whoever has left meanwhile. Otherwise the ledger would know it as finished, and memory not.
    ///
    /// # Errors
    /// When it cannot be written. What is remembered is told even so; then the key is finished in memory only.
    pub(in crate::server) async fn write_finishing(
        &self,
        held: Held,
        answer: ledger::Answer,
        flight: Flight,
        reply: &VerifyReply,
    ) -> Result<(), NotWritten> {
        let (ledger, reply) = (self.ledger.clone(), kept(reply));
        let is_remembered = answer.source.as_deref() == Some(Source::Cache.as_str());
        let (done, written) = oneshot::channel();
        self.idempotency.tasks.spawn(async move {
            let entry = |at_ms| ledger::Answer { at_ms, ..answer.clone() };
            let mut result = ledger.write(entry, flight).await;
            if is_remembered && result.is_err() {
                ledger.note(entry, Flight::NONE);
                result = Ok(());
            }
            if result.is_ok() {
                held.finish(reply);
            }
            // Who has left does not want to know.
            let _ = done.send(result);
        });
        written.await.unwrap_or(Err(NotWritten))
    }

    /// The question while no key can be claimed: what is remembered is told, and nothing is called.
    async fn ask_memory(
        &self,
        now: &Snapshot,
        question: Question,
        person: bool,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        let wanted_memory = question.freshness.only_if_cached;
        let freshness = Freshness { only_if_cached: true, ..question.freshness };
        let asked = self.ask(now, Question { freshness, ..question }, person, trace).await;
        asked.map_err(|problem| match problem.code() {
            Code::NotCached if !wanted_memory => Box::new(Problem::from(Failure {
                retry_after: Some(SOON),
                ..Failure::bare(FailureKind::LedgerUnavailable)
            })),
            _ => problem,
        })
    }

    /// How long ago the provider gave this answer.
    fn age_of(&self, reply: &VerifyReply) -> Duration {
        let given = reply.provenance.verified_at.parse::<Timestamp>().unwrap_or_default();
        Duration::try_from(self.clock.now().duration_since(given)).unwrap_or_default()
    }

    fn replay(
        &self,
        now: &Snapshot,
        kept: &VerifyReply,
        subject: &Subject,
        keyed: &Keyed,
        trace: &mut Trace,
    ) -> Arc<VerifyReply> {
        let verdict = Verdict::ALL.into_iter().find(|verdict| *kept.verdict == *verdict.as_str());
        if let Some(verdict) = verdict {
            now.live.spared(Avoided::Idempotent, &kept.provenance.provider, verdict);
        }
        trace.replayed = true;
        // The answer is in the ledger already.
        trace.ticket = None;
        Arc::new(VerifyReply {
            warnings: reply::warnings(&kept.verdict, subject),
            person: keyed.include_person.then(|| self.person(now, subject)),
            ..kept.clone()
        })
    }
}

/// What is kept for a day holds no person; a replay derives it again.
fn kept(reply: &VerifyReply) -> Arc<VerifyReply> {
    Arc::new(VerifyReply { person: None, ..reply.clone() })
}

impl Keyed {
    fn owner(&self, since_ms: i64, claim: Option<uuid::Uuid>) -> Owner {
        Owner { body: self.body, person: self.person, since_ms, claim }
    }
}

impl Claiming {
    async fn run(self, mut look: Look) {
        loop {
            let forgettings = look.forgettings();
            // Dropped undone, whoever waits is told that it cannot be known, and the next one tries again.
            let Some(whose) = self.whose(look.anew).await else { return };
            let settled = match whose {
                Whose::Ours(owner) => look.claimed(owner, forgettings),
                Whose::Known(owner, reply) => look.found(owner, reply.map(|reply| *reply), forgettings),
            };
            match settled {
                Ok(()) => return,
                Err(again) => look = again,
            }
            look.anew = false;
        }
    }

    /// Whose the key is; nothing if it cannot be known, or not be claimed.
    async fn whose(&self, anew: bool) -> Option<Whose> {
        let known = if anew {
            None
        } else {
            let known = self.ledger.claimed(&self.keyed.key, not_before(&self.clock)).await;
            // Who is asked to come back finds the cause here.
            known.inspect_err(|error| tracing::error!(%error, "ledger: a key cannot be looked up")).ok()?
        };
        if let Some(Claimed { claim, answer }) = known {
            let (body, person) = (Digest::from_hex(&claim.body)?, Digest::from_hex(&claim.subject.digest)?);
            let owner = Owner { body, person, since_ms: claim.at_ms, claim: Some(claim.id) };
            return Some(Whose::Known(owner, answer.map(|answer| Box::new(answer.into()))));
        }
        let claim = self.ledger.claim(|id, at_ms| ledger::Claim {
            id,
            at_ms,
            client: self.client.to_string(),
            outcome: "claimed".to_owned(),
            key: self.keyed.key.to_hex(),
            body: self.keyed.body.to_hex(),
            subject: self.subject.clone(),
        });
        let claim = claim.await.ok()??;
        Some(Whose::Ours(self.keyed.owner(claim.at_ms, Some(claim.id))))
    }
}
