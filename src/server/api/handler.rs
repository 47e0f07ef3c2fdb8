//! The way of a question: authenticate, limit, parse, check locally (free), then ask.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::FutureExt;
use http::request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};

use super::question::Wish;
use super::reply::{Person, Provenance, VerifyReply};
use super::{Api, Limits, Refused, document, reply};
use crate::domain::id_number::IdNumber;
use crate::domain::name::Name;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::server::auth::callers;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::request_scope::{Trace, Visit};
use crate::server::http::{body_reader, headers};
use crate::server::http::{code::Code, problem::Problem};
use crate::server::snapshot::Snapshot;
use crate::verify::{Answer, Avoided, Question, Source, Ticket};

/// When to come back where nobody can know it better.
pub(in crate::server) const SOON: Duration = Duration::from_secs(1);

/// Of a body that is too large, so much more is read.
const MOST_THROWN_AWAY: usize = 2 * 1024 * 1024;

/// Do this name and this ID number belong together?
#[utoipa::path(
    post,
    path = "/v1/verify",
    tag = "verify",
    operation_id = "verify",
    request_body(content = body_reader::VerifyRequest, examples(
        ("match" = (summary = "The right name", value = json!({"name": "张三", "id_number": "11010519491231002X"}))),
        ("mismatch" = (summary = "Another name", value = json!({"name": "李四", "id_number": "11010519491231002X"}))),
        ("no_record" = (summary = "Nobody", value = json!({"name": "张三", "id_number": "440524188001010014"}))),
        ("all" = (summary = "Every member", value = json!({"name": "张测试", "id_number": "110101199003079972",
            "purpose": "default", "reference": "payout-4711", "include_person": true}))),
    )),
    security(("client_key" = [])),
    params(document::VerifyHeaders),
    responses(
        (status = 200, description = "A verdict", body = reply::VerifyReply, headers(
            ("X-Request-Id" = String, description = "The id of this request, as logged"),
            ("Age" = u64, description = "Seconds since the provider answered; only for remembered verdicts"),
            ("Cache-Status" = String,
                description = "`idgate; hit; ttl=N`, `idgate; fwd=miss` or `idgate; fwd=miss; collapsed` (RFC 9211)"),
            ("Cache-Control" = String, description = "Always `no-store`: nobody between us and the caller keeps it"),
            ("Preference-Applied" = String, description = "`wait=N`, if it was asked for (RFC 7240)"),
            ("Idempotency-Replayed" = String, description = "`true`: the answer of an earlier request with this key"),
            ("RateLimit" = String, description = "What is left of the client's rate (IETF draft)"),
            ("RateLimit-Policy" = String, description = "The client's rate (IETF draft)"),
        )),
    )
)]
pub(in crate::server) async fn verify(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut visit = Visit::new(&api, &parts.headers);
    let result = match api.places.try_acquire() {
        Ok(_place) => {
            // Caught here, where the request is still known: a defect is answered, logged and counted like anything else.
            // What it leaves half done is this request's own; what is shared gives itself back when dropped.
            let answer = AssertUnwindSafe(api.answer(parts, body, &mut visit.trace)).catch_unwind().await;
            answer.unwrap_or_else(|_| Err(Box::new(Problem::new(Code::Internal))))
        }
        Err(_) => Err(Box::new(Problem::new(Code::Overloaded).with_retry_after(SOON))),
    };
    visit.respond(result)
}

/// A wait for others, which is not our overhead; neither is it when the caller leaves in the middle of it.
pub(in crate::server) struct Waiting<'a> {
    since: Instant,
    total: &'a mut Duration,
}

impl<'a> Waiting<'a> {
    pub(in crate::server) fn on(total: &'a mut Duration) -> Self {
        Self { since: Instant::now(), total }
    }

    /// It was no wait: the answer was here.
    fn for_nobody(mut self) {
        self.since = Instant::now();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.total += self.since.elapsed();
    }
}

impl Api {
    /// The way of a question, from its head to its reply.
    async fn answer(&self, parts: request::Parts, body: Body, trace: &mut Trace) -> Result<Arc<VerifyReply>, Refused> {
        // Head and body share the connection's read buffers. They are gone before the wait for a provider begins, because
        // thousands may wait.
        let now = self.current.load();
        let (question, body, idempotency_key) = self.question(&now, parts, body, trace).await?;
        match idempotency_key {
            None => self.ask(&now, question, body.wants_person(), trace).await,
            Some(key) => self.ask_once(&now, &key, question, &body, trace).await,
        }
    }

    /// Who asks what, as far as our own rules can tell, with the body as it was written and the idempotency key.
    async fn question(
        &self,
        now: &Snapshot,
        parts: request::Parts,
        body: Body,
        trace: &mut Trace,
    ) -> Result<(Question, VerifyBody, Option<String>), Refused> {
        let caller = now.clients.identify(&parts.headers, &parts.extensions, self.clock.now())?;
        let client = self.let_in(caller, trace)?;
        if headers::size(&parts.method, &parts.uri, &parts.headers) > self.max_header_bytes {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        if !headers::accepts_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::NotAcceptable)));
        }
        if !headers::is_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::UnsupportedMediaType)));
        }
        let idempotency_key = headers::idempotency_key(&parts.headers)?;
        let bytes = self.read(body, now.limits).await?;
        let body = VerifyBody::parse(&bytes)
            .map_err(|errors| Problem::new(Code::MalformedRequest).with_errors(errors))
            .map_err(Box::new)?;
        if body.reference_carries_number(self.clock.today_in_china()) {
            return Err(Box::new(
                Problem::new(Code::MalformedRequest).with_errors(vec![body_reader::reference_with_number()]),
            ));
        }
        let wish = Wish { freshness: headers::freshness(&parts.headers), patience: headers::patience(&parts.headers) };
        let question = self.pose(now, &client, &body, wish, trace)?;
        client.count_question(&self.clock)?;
        Ok((question, body, idempotency_key))
    }

    /// One question from this very process, under no client's rate and no purpose of its own.
    ///
    /// # Errors
    /// The problem that a caller would get.
    pub async fn ask_locally(&self, name: Personal, id_number: Personal) -> Result<VerifyReply, Problem> {
        let now = &*self.current.load();
        let body = VerifyBody { name, id_number, purpose: None, reference: None, include_person: Some(true) };
        let mut trace = Trace { purpose: Some(Arc::from(callers::DEFAULT_PURPOSE)), ..Trace::default() };
        let ticket = self.ticket(now, Arc::default(), None, &mut trace);
        let subject = self.check(now, &body, &mut trace).map_err(|problem| *problem)?;
        let question = Question {
            subject: Arc::new(subject),
            client: Arc::from("local"),
            purpose: Arc::from(callers::DEFAULT_PURPOSE),
            freshness: crate::verify::Freshness::default(),
            patience: now.limits.request_timeout,
            ticket,
        };
        let reply = self.ask(now, question, true, &mut trace).await;
        if let Err(problem) = &reply {
            self.note_refusal(&mut trace, problem.code().as_str(), problem.attempts());
        }
        reply.map(Arc::unwrap_or_clone).map_err(|problem| *problem)
    }

    /// Reads the body, up to its cap and its deadline.
    pub(in crate::server) async fn read(&self, mut body: Body, limits: Limits) -> Result<bytes::Bytes, Refused> {
        let deadline = Instant::now() + limits.body_timeout;
        let limited = Limited::new(&mut body, limits.max_body_bytes);
        match timeout_at(deadline, limited.collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                // Closing with unread bytes resets the connection, and the reset may overtake the answer. So some of the
                // rest is thrown away first; whoever sends even more than that has to live with a reset.
                let _ = timeout_at(deadline, Limited::new(body, MOST_THROWN_AWAY).collect()).await;
                let most = limits.max_body_bytes;
                let detail = format!("is larger than {most} bytes; a question needs a few hundred");
                Err(Box::new(Problem::new(Code::PayloadTooLarge).with_error("", "too_large", &detail)))
            }
            Ok(Err(_)) => {
                let detail = "the body broke off; send all of it";
                Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "incomplete", detail)))
            }
            Err(_) => Err(Box::new(Problem::new(Code::RequestTimeout))),
        }
    }

    /// What the question is known by afterwards; from now on its answer belongs into the ledger.
    pub(in crate::server) fn ticket(
        &self,
        now: &Snapshot,
        key_id: Arc<str>,
        reference: Option<String>,
        trace: &mut Trace,
    ) -> Ticket {
        let ticket = Ticket { id: self.ids.ordered(), key_id, reference, configuration: Arc::clone(&now.version) };
        trace.ticket = Some(ticket.clone());
        ticket
    }

    /// The local rules: free, and first.
    pub(in crate::server) fn check(
        &self,
        now: &Snapshot,
        body: &VerifyBody,
        trace: &mut Trace,
    ) -> Result<Subject, Refused> {
        let checked = self.subject(now, &body.name, &body.id_number);
        let subject = checked.inspect_err(|_| self.verify_metrics.avoided(Avoided::InvalidInput))?;
        trace.person = self.in_ledger(&subject);
        Ok(subject)
    }

    /// Whom a name and a number are about.
    ///
    /// # Errors
    /// The local rule that they break.
    pub(in crate::server) fn subject(
        &self,
        now: &Snapshot,
        name: &Personal,
        id_number: &Personal,
    ) -> Result<Subject, Refused> {
        let refuse = |code: Code, pointer: &str, reason: &'static str, detail: &str| {
            Box::new(Problem::new(code).with_error(pointer, reason, detail))
        };
        let number = IdNumber::parse(id_number.expose(), self.clock.today_in_china(), now.rules.calendar)
            .map_err(|wrong| refuse(Code::InvalidIdNumber, "/id_number", wrong.reason(), wrong.detail()))?;
        let name = Name::parse(name.expose());
        name.and_then(|name| Subject::new(name, number, now.rules.pair))
            .map_err(|wrong| refuse(Code::InvalidName, "/name", wrong.reason(), wrong.detail()))
    }

    /// The answer to a question: from memory, a flight, or a provider; in the ledger before it is told.
    ///
    /// # Errors
    /// Whatever keeps us from a verdict.
    pub(in crate::server) async fn ask(
        &self,
        now: &Snapshot,
        question: Question,
        person: bool,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        if self.last_call.is_cancelled() {
            // Nothing new begins, since nobody would be here to tell what comes of it.
            return Err(Box::new(Problem::new(Code::ShuttingDown).with_retry_after(SOON)));
        }
        let waiting = Waiting::on(&mut trace.upstream);
        let answer = tokio::select! {
            biased;
            answer = now.live.ask(&question) => answer,
            // Its call may be under way, and then is paid for, if not answered here.
            () = self.last_call.cancelled() => {
                return Err(Box::new(Problem::new(Code::ShuttingDown).with_retry_after(SOON).perhaps_billed()));
            }
        };
        match answer {
            Ok(answer) => {
                if answer.source == Source::Cache {
                    waiting.for_nobody();
                } else {
                    drop(waiting);
                }
                let reply = self.reply(now, &question, &answer, person);
                self.write_verdict(now, &question.subject, trace, &answer, &reply).await?;
                trace.note(&answer);
                Ok(Arc::new(reply))
            }
            Err(failure) => {
                trace.flight = failure.flight.clone();
                Err(Box::new(failure.into()))
            }
        }
    }

    pub(in crate::server) fn person(&self, now: &Snapshot, subject: &Subject) -> Person {
        Person::of(subject, &now.regions, self.clock.today_in_china())
    }

    fn reply(&self, now: &Snapshot, question: &Question, answer: &Answer, person: bool) -> VerifyReply {
        let subject = &question.subject;
        VerifyReply {
            verification_id: question.ticket.id,
            verdict: Cow::Borrowed(answer.verdict.as_str()),
            provenance: Provenance::from(answer),
            warnings: reply::warnings(answer.verdict.as_str(), subject),
            person: person.then(|| self.person(now, subject)),
        }
    }
}
