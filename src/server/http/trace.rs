//! What happened inside a request, as plain records. `app` sends them to a tracing system; nothing here knows which.
//!
//! Invariants: attributes come from the fixed list [`Key`], and their values from closed sets, from the configuration
//! or from us, never from a caller, so that no trace can hold a person or a secret. A request that is not traced keeps
//! nothing and costs one branch.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::access_log::Line;
use super::headers::{self, Parent};
use crate::domain::disclosure::holds_person;
use crate::domain::subject::Subject;
use crate::server::audit::Written;
use crate::verify::{Attempt, Source};

/// The most steps of one request; a chain has fewer.
const MOST_STEPS: usize = 64;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// The look-up in the verdict cache.
    Recall,
    /// One attempt at a provider, or why there was none.
    Attempt,
    /// Waiting until the ledger has the answer.
    Ledger,
}

/// Every attribute that a span may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum Key {
    #[strum(serialize = "http.request.method")]
    Method,
    #[strum(serialize = "http.route")]
    Route,
    #[strum(serialize = "http.response.status_code")]
    Status,
    #[strum(serialize = "idgate.protocol")]
    Protocol,
    #[strum(serialize = "idgate.client")]
    Client,
    #[strum(serialize = "idgate.purpose")]
    Purpose,
    #[strum(serialize = "idgate.verification_id")]
    VerificationId,
    #[strum(serialize = "idgate.verdict")]
    Verdict,
    #[strum(serialize = "idgate.source")]
    Source,
    #[strum(serialize = "idgate.code")]
    Code,
    #[strum(serialize = "idgate.recall")]
    Recall,
    #[strum(serialize = "idgate.provider")]
    Provider,
    #[strum(serialize = "idgate.endpoint")]
    Endpoint,
    #[strum(serialize = "idgate.outcome")]
    Outcome,
    #[strum(serialize = "idgate.reason")]
    Reason,
    #[strum(serialize = "idgate.billed")]
    Billed,
    #[strum(serialize = "idgate.written")]
    Written,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// From a closed set.
    Word(&'static str),
    /// From the configuration.
    Name(Arc<str>),
    Number(i64),
    /// An id of ours.
    Id(Uuid),
}

/// One step of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub step: Step,
    /// Since the request began.
    pub began: Duration,
    pub took: Duration,
    pub attributes: Vec<(Key, Value)>,
    pub is_error: bool,
}

/// A request that has ended, with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    pub ended: Timestamp,
    pub took: Duration,
    pub attributes: Vec<(Key, Value)>,
    pub is_error: bool,
    pub steps: Vec<Span>,
}

/// Takes traces. It never waits: what it has no room for is counted and lost.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Takes the trace of one request.
    fn take(&self, finished: Finished);
}

/// Decides which requests are traced; the default traces none.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Sampling>>);

#[derive(Debug)]
struct Sampling {
    /// A request without a parent is traced if the end of its trace id is below this; `None` for all.
    below: Option<u64>,
    sink: Arc<dyn Sink>,
}

/// The trace of a request that has not ended.
#[derive(Debug)]
pub(in crate::server) struct Trace {
    sink: Arc<dyn Sink>,
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    began: Instant,
    steps: Vec<Span>,
}

impl Tracer {
    /// Traces what the caller traces, and `ratio` of the requests whose callers say nothing about it.
    pub fn new(ratio: f64, sink: Arc<dyn Sink>) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of the whole range; a fraction of it more or less is no matter"
        )]
        let below = (ratio < 1.0).then_some((ratio.max(0.0) * u64::MAX as f64) as u64);
        Self(Some(Arc::new(Sampling { below, sink })))
    }

    /// The trace of a request that begins now; `None` if it is not traced.
    pub(super) fn begin(&self, head: &HeaderMap, began: Instant, chance: impl Fn() -> Uuid) -> Option<Box<Trace>> {
        let sampling = self.0.as_ref()?;
        let parent = headers::parent(head);
        let (trace, is_sampled) = match &parent {
            Some(parent) => (parent.trace, parent.is_sampled),
            None => {
                let trace = chance().into_bytes();
                (trace, sampling.below.is_none_or(|below| tail(&trace) < below))
            }
        };
        is_sampled.then(|| {
            let parent = parent.map(|Parent { span, .. }| span);
            let span = half(chance());
            Box::new(Trace { sink: Arc::clone(&sampling.sink), trace, span, parent, began, steps: Vec::new() })
        })
    }
}

impl Trace {
    /// The trace id, for the log line.
    pub(super) fn id(&self) -> String {
        hex::encode(self.trace)
    }

    /// Gives the trace ids of our own if the caller's name the person it asks about.
    pub(super) fn is_about(&mut self, subject: &Subject, chance: impl FnOnce() -> Uuid) {
        let names = |id: &[u8]| holds_person(&hex::encode(id), subject.name(), subject.id_number());
        if names(&self.trace) || self.parent.is_some_and(|span| names(&span)) {
            (self.trace, self.parent) = (chance().into_bytes(), None);
        }
    }

    /// The look-up in the cache ended with an answer, or at `end` without one.
    pub(in crate::server) fn recalled(&mut self, began: Instant, end: Option<Instant>, source: Option<Source>) {
        let word = match source {
            Some(Source::Cache) => "hit",
            Some(Source::Shared) => "joined",
            Some(Source::Provider) | None => "miss",
        };
        let end = end.unwrap_or_else(Instant::now);
        self.step(Step::Recall, began, end.duration_since(began), vec![(Key::Recall, Value::Word(word))], false);
    }

    /// The attempts that were made for the request.
    pub(in crate::server) fn attempted(&mut self, attempts: &[Attempt]) {
        for attempt in attempts {
            let Attempt { provider, endpoint, outcome, reason, billed, duration, .. } = attempt;
            let mut attributes = vec![
                (Key::Provider, Value::Name(Arc::clone(provider))),
                (Key::Outcome, Value::Word(outcome.as_str())),
                (Key::Billed, Value::Word(billed.as_str())),
            ];
            if !endpoint.is_empty() {
                attributes.push((Key::Endpoint, Value::Name(Arc::clone(endpoint))));
            }
            if reason.is_specific() {
                attributes.push((Key::Reason, Value::Word(reason.as_str())));
            }
            let is_error = outcome.as_str() != "verdict" && !outcome.is_skip();
            // One that was skipped with its provider took no time, after what came before it.
            let last = self.steps.last().map_or(self.began, |last| self.began + last.began + last.took);
            self.step(Step::Attempt, attempt.began.unwrap_or(last), *duration, attributes, is_error);
        }
    }

    /// The ledger was waited for.
    pub(in crate::server) fn written(&mut self, began: Instant, written: Option<Written>) {
        let word = match written {
            Some(Written::OnDisk) => "on_disk",
            Some(Written::Queued) => "queued",
            None => "failed",
        };
        let attributes = vec![(Key::Written, Value::Word(word))];
        self.step(Step::Ledger, began, began.elapsed(), attributes, written.is_none());
    }

    fn step(&mut self, step: Step, began: Instant, took: Duration, attributes: Vec<(Key, Value)>, is_error: bool) {
        if self.steps.len() < MOST_STEPS {
            // A flight that was joined may have begun earlier than the request.
            let began = began.saturating_duration_since(self.began);
            self.steps.push(Span { step, began, took, attributes, is_error });
        }
    }

    /// Hands the trace over.
    pub(super) fn end(self, ended: Timestamp, took: Duration, status: StatusCode, attributes: Vec<(Key, Value)>) {
        let Self { sink, trace, span, parent, began: _, steps } = self;
        let is_error = status.is_server_error();
        sink.take(Finished { trace, span, parent, ended, took, attributes, is_error, steps });
    }
}

/// What the span of a request says: words of ours, and names of the configuration.
pub(super) fn attributes(
    plain: [(Key, Value); 2],
    names: [(Key, Option<&Arc<str>>); 2],
    line: &Line<'_>,
) -> Vec<(Key, Value)> {
    let words = [
        (Key::Protocol, line.protocol),
        (Key::Verdict, line.verdict),
        (Key::Source, line.source),
        (Key::Code, line.code),
    ];
    let mut attributes = Vec::from(plain);
    attributes.push((Key::Status, Value::Number(i64::from(line.status))));
    attributes.extend(names.into_iter().filter_map(|(key, name)| Some((key, Value::Name(Arc::clone(name?))))));
    attributes.extend(words.into_iter().filter_map(|(key, word)| Some((key, Value::Word(word?)))));
    attributes.extend(line.verification_id.map(|id| (Key::VerificationId, Value::Id(id))));
    attributes
}

fn half(id: Uuid) -> [u8; 8] {
    let (_, low) = id.as_u64_pair();
    // A span id of zero is none (W3C Trace Context).
    low.max(1).to_be_bytes()
}

/// The end of a trace id, which is random (W3C Trace Context, level 2).
fn tail(trace: &[u8; 16]) -> u64 {
    // The bits that a version 4 UUID fixes are at the beginning of this half.
    Uuid::from_bytes(*trace).as_u64_pair().1 << 2
}

#[cfg(test)]
mod tests;
