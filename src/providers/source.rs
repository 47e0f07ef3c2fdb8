//! Where a credential comes from that is not written in the configuration: a conversation without I/O.
//!
//! A [`Source`] returns, step by step, what it needs next (a file's content, the answer to a request), until it has a
//! credential or a reason why not. So every source is a plain function, one runner in `verify` reads and sends for all
//! of them, and sources are combined with [`Step::or_else`] and [`Step::and_then`].
//!
//! Invariants: no I/O and no clock here; a failure is one of a closed set and never text from the other side.
//! To add a source: a function that returns its first [`Step`], and a [`Source`] around its settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::codec::ini::Unreadable;
use super::credential::Credential;
use super::encode_error::EncodeError;
use super::protocol::Stamp;

/// A place that hands out credentials.
pub trait Source: fmt::Debug + Send + Sync {
    /// Its word in the configuration.
    fn name(&self) -> &'static str;

    /// Begins to fetch. `kept` is the name of the source that gave the credential in use: of several only that one is
    /// asked again, so that a failure of one source does not change whose keys are used.
    fn begin(&self, kept: Option<&'static str>) -> Step;

    /// Equal for equal settings only; tells whether a reload changes the source.
    fn fingerprint(&self) -> [u8; 32];
}

/// What is needed next, or the end.
pub enum Step {
    /// The content of a file, read anew each time; `None` if it cannot be read.
    Read(PathBuf, Then<Option<Zeroizing<Vec<u8>>>>),
    /// The answer to a request.
    Ask(Ask, Then<(Result<Response<Bytes>, MissReason>, Timestamp)>),
    /// A credential.
    Done(Granted),
    /// No credential, with one reason for each source that was tried.
    Failed(Vec<Miss>),
}

/// The continuation.
pub type Then<T> = Box<dyn FnOnce(T) -> Step + Send>;

/// Makes a request from the time and nonce of the moment in which it is sent.
pub type Compose = Box<dyn FnOnce(&Stamp) -> Result<Request<Bytes>, EncodeError> + Send>;

/// A request to send. It uses no proxy from the environment and follows no redirect.
pub struct Ask {
    /// Makes the request.
    pub compose: Compose,
    /// The time limit for the whole answer.
    pub limit: Duration,
    /// Whether the peer is part of the machine or its network, so that no proxy may be used at all.
    pub is_local: bool,
    /// The documented code in the body of a refusal.
    pub explain: fn(&[u8]) -> Option<&'static str>,
}

/// A credential that was fetched.
#[derive(Debug, Clone)]
pub struct Granted {
    /// What signs.
    pub credential: Credential,
    /// When it ends; a permanent one does not.
    pub ends: Option<Timestamp>,
    /// The source that gave it.
    pub from: &'static str,
}

/// A source that gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Which.
    pub source: &'static str,
    /// Why.
    pub reason: MissReason,
    /// The documented code with which it refused, if it gave one (from our own table, never from the wire).
    pub code: Option<&'static str>,
}

/// Why a source gives no credential: a closed set, fit for logs and the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// Nothing is set that this source could begin with.
    NotSet,
    /// A file cannot be read.
    FileUnreadable,
    /// A file is not what its format promises, or is empty.
    FileForm,
    /// The file has no profile of that name.
    NoProfile,
    /// A profile of a mode that this gateway does not know.
    UnknownMode,
    /// A profile that needs a person at a browser or a command line, so it is none for a service.
    ForPeople,
    /// Profiles that lead to each other in a circle.
    Circle,
    /// The settings do not make a request.
    RequestForm,
    /// No connection.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// The connection broke.
    Interrupted,
    /// An answer that says no: another status than 200.
    Refused,
    /// A redirect; none is followed.
    Redirect,
    /// A body over the cap.
    TooBig,
    /// Not the document that is promised.
    Garbage,
    /// A document whose `Code` is not `Success`.
    NotSuccess,
    /// A document in which a member is missing or empty.
    MissingField,
    /// Keys that have ended already.
    AlreadyEnded,
}

impl From<Unreadable> for MissReason {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Form => Self::FileForm,
            Unreadable::NoSection => Self::NoProfile,
        }
    }
}

impl MissReason {
    /// The word used in logs and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            MissReason::NotSet => "not_set",
            MissReason::FileUnreadable => "file_unreadable",
            MissReason::FileForm => "file_form",
            MissReason::NoProfile => "no_profile",
            MissReason::UnknownMode => "unknown_mode",
            MissReason::ForPeople => "for_people",
            MissReason::Circle => "circle",
            MissReason::RequestForm => "request_form",
            MissReason::Unreachable => "unreachable",
            MissReason::Timeout => "timeout",
            MissReason::Interrupted => "interrupted",
            MissReason::Refused => "refused",
            MissReason::Redirect => "redirect",
            MissReason::TooBig => "too_big",
            MissReason::Garbage => "garbage",
            MissReason::NotSuccess => "not_success",
            MissReason::MissingField => "missing_field",
            MissReason::AlreadyEnded => "already_ended",
        }
    }
}

impl Step {
    /// The end of a source that gives nothing.
    pub fn failed(source: &'static str, reason: MissReason) -> Self {
        Step::Failed(vec![Miss { source, reason, code: None }])
    }

    /// Reads a file, then goes on with its content, or fails in the name of `source`.
    pub fn read(
        source: &'static str,
        path: PathBuf,
        then: impl FnOnce(Zeroizing<Vec<u8>>) -> Step + Send + 'static,
    ) -> Self {
        Step::Read(
            path,
            Box::new(move |content| match content {
                Some(content) => then(content),
                None => Step::failed(source, MissReason::FileUnreadable),
            }),
        )
    }

    /// Sends a request, then goes on with the body of a good answer, or fails in the name of `source`.
    pub fn ask(
        source: &'static str,
        ask: Ask,
        then: impl FnOnce(&[u8], Timestamp) -> Result<Step, MissReason> + Send + 'static,
    ) -> Self {
        let explain = ask.explain;
        Step::Ask(
            ask,
            Box::new(move |(answer, now)| {
                let next = answer.and_then(|answer| match answer.status() {
                    http::StatusCode::OK => then(answer.body(), now),
                    status if status.is_redirection() => Err(MissReason::Redirect),
                    _ => Ok(Step::Failed(vec![Miss {
                        source,
                        reason: MissReason::Refused,
                        code: explain(answer.body()),
                    }])),
                });
                next.unwrap_or_else(|reason| Step::failed(source, reason))
            }),
        )
    }

    /// Goes on with `other` if this fails; if that fails too, with the misses of both.
    #[must_use]
    pub fn or_else(self, other: impl FnOnce() -> Step + Send + 'static) -> Self {
        match self {
            Step::Read(path, then) => Step::Read(path, Box::new(move |content| then(content).or_else(other))),
            Step::Ask(ask, then) => Step::Ask(ask, Box::new(move |answer| then(answer).or_else(other))),
            Step::Done(granted) => Step::Done(granted),
            Step::Failed(misses) => other().after(misses),
        }
    }

    /// Continues with `next`, given the credential.
    #[must_use]
    pub fn and_then(self, next: impl FnOnce(Granted) -> Step + Send + 'static) -> Self {
        match self {
            Step::Read(path, then) => Step::Read(path, Box::new(move |content| then(content).and_then(next))),
            Step::Ask(ask, then) => Step::Ask(ask, Box::new(move |answer| then(answer).and_then(next))),
            Step::Done(granted) => next(granted),
            Step::Failed(misses) => Step::Failed(misses),
        }
    }

    /// The same under the name of `source`.
    #[must_use]
    pub fn named(self, source: &'static str) -> Self {
        match self {
            Step::Read(path, then) => Step::Read(path, Box::new(move |content| then(content).named(source))),
            Step::Ask(ask, then) => Step::Ask(ask, Box::new(move |answer| then(answer).named(source))),
            Step::Done(granted) => Step::Done(Granted { from: source, ..granted }),
            Step::Failed(misses) => Step::Failed(misses.into_iter().map(|miss| Miss { source, ..miss }).collect()),
        }
    }

    /// The same with the misses of the sources tried before.
    fn after(self, mut before: Vec<Miss>) -> Self {
        match self {
            Step::Read(path, then) => Step::Read(path, Box::new(move |content| then(content).after(before))),
            Step::Ask(ask, then) => Step::Ask(ask, Box::new(move |answer| then(answer).after(before))),
            Step::Done(granted) => Step::Done(granted),
            Step::Failed(misses) => {
                before.extend(misses.into_iter().filter(|miss| !before.contains(miss)).collect::<Vec<_>>());
                Step::Failed(before)
            }
        }
    }
}

impl fmt::Debug for Step {
    /// A path may tell where a secret is; a request holds one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Read(..) => f.write_str("Read(…)"),
            Step::Ask(..) => f.write_str("Ask(…)"),
            Step::Done(granted) => f.debug_tuple("Done").field(&granted.from).finish(),
            Step::Failed(misses) => f.debug_tuple("Failed").field(misses).finish(),
        }
    }
}
