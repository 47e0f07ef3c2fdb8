//! Credential sources that are not written in the configuration, as state machines without I/O.
//!
//! A [`Source`] returns step by step the next input it needs (a file's content, the response to a request), until it
//! has a credential or a reason for the failure. Every source is therefore a plain function, and one runner in `verify`
//! does the I/O for all. Sources are combined with [`Step::or_else`] and [`Step::and_then`].
//!
//! Invariants: no I/O and no clock here. A failure is one of a closed set and never contains text from the peer.
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

/// A source of credentials.
pub trait Source: fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Starts a fetch. `kept` is the name of the source of the current credential. A chain only queries that one again,
    /// so that a failing source does not change whose keys are used.
    fn begin(&self, kept: Option<&'static str>) -> Step;

    /// Equal only for equal settings; shows whether a reload changes the source.
    fn fingerprint(&self) -> [u8; 32];
}

/// The next input needed, or the result.
pub enum Step {
    /// Needs the content of a file, read again each time; `None` if it cannot be read.
    Read(PathBuf, Then<Option<Zeroizing<Vec<u8>>>>),
    /// Needs the response to a request.
    Ask(Ask, Then<(Result<Response<Bytes>, MissReason>, Timestamp)>),
    Done(Granted),
    /// Failed, with one reason for each source tried.
    Failed(Vec<Miss>),
}

pub type Then<T> = Box<dyn FnOnce(T) -> Step + Send>;

/// Builds a request with the time and nonce of sending.
pub type Compose = Box<dyn FnOnce(&Stamp) -> Result<Request<Bytes>, EncodeError> + Send>;

/// A request to send. It uses no proxy from the environment and follows no redirect.
pub struct Ask {
    pub compose: Compose,
    /// The time limit for the whole response.
    pub limit: Duration,
    /// Whether the peer is on the machine or link-local, so that no proxy may be used.
    pub is_local: bool,
    /// Extracts the documented code from the body of an error response.
    pub explain: fn(&[u8]) -> Option<&'static str>,
}

/// A fetched credential.
#[derive(Debug, Clone)]
pub struct Granted {
    pub credential: Credential,
    /// When it expires; `None` for a permanent one.
    pub ends: Option<Timestamp>,
    pub from: &'static str,
}

/// A source that failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    pub source: &'static str,
    pub reason: MissReason,
    /// The documented error code of the service, if any (from our own table, never from the wire).
    pub code: Option<&'static str>,
}

/// Why a source has no credential. A closed set, safe for logs and the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// The settings that this source needs are missing.
    NotSet,
    FileUnreadable,
    /// A file is malformed or empty.
    FileForm,
    NoProfile,
    /// A profile has an unknown mode.
    UnknownMode,
    /// A profile needs a browser or an interactive command line.
    ForPeople,
    /// Profiles refer to each other in a cycle.
    Circle,
    /// It was not done after as many steps as a fetch may take.
    TooManySteps,
    /// The settings do not form a valid request.
    RequestForm,
    Unreachable,
    /// The response was not complete in time.
    Timeout,
    Interrupted,
    /// A status other than 200.
    Refused,
    /// A redirect, which is not followed.
    Redirect,
    /// The body exceeds the size limit.
    TooBig,
    /// The body is malformed.
    Garbage,
    /// The document's `Code` is not `Success`.
    NotSuccess,
    /// A member of the document is missing or empty.
    MissingField,
    /// The keys have already expired.
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
    /// The name in logs and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            MissReason::NotSet => "not_set",
            MissReason::FileUnreadable => "file_unreadable",
            MissReason::FileForm => "file_form",
            MissReason::NoProfile => "no_profile",
            MissReason::UnknownMode => "unknown_mode",
            MissReason::ForPeople => "for_people",
            MissReason::Circle => "circle",
            MissReason::TooManySteps => "too_many_steps",
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
    /// The result of a source that has no credential.
    pub fn failed(source: &'static str, reason: MissReason) -> Self {
        Step::Failed(vec![Miss { source, reason, code: None }])
    }

    /// Reads a file and continues with its content, or fails on behalf of `source`.
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

    /// Sends a request and continues with the body of a success response, or fails on behalf of `source`.
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

    /// Falls back to `other` on failure. If that fails too, the misses of both are returned.
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

    /// Renames the source of the result.
    #[must_use]
    pub fn named(self, source: &'static str) -> Self {
        match self {
            Step::Read(path, then) => Step::Read(path, Box::new(move |content| then(content).named(source))),
            Step::Ask(ask, then) => Step::Ask(ask, Box::new(move |answer| then(answer).named(source))),
            Step::Done(granted) => Step::Done(Granted { from: source, ..granted }),
            Step::Failed(misses) => Step::Failed(misses.into_iter().map(|miss| Miss { source, ..miss }).collect()),
        }
    }

    /// Prepends the misses of the sources tried before.
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
    /// Omits paths, which may reveal the location of a secret, and requests, which contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Read(..) => f.write_str("Read(…)"),
            Step::Ask(..) => f.write_str("Ask(…)"),
            Step::Done(granted) => f.debug_tuple("Done").field(&granted.from).finish(),
            Step::Failed(misses) => f.debug_tuple("Failed").field(misses).finish(),
        }
    }
}
