//! What a server needs beside the functions of [`Service`] to speak a provider's protocol: how its requests are
//! recognised, and the provider's code for each reason why there is no verdict.
//!
//! Invariant: every [`Cause`] has a documented code in every protocol; `match` without a rest sees to it. To add a
//! cause: a variant, and a code in each driver's table.

use bytes::Bytes;
use http::Request;
use jiff::SignedDuration;

use super::code::Code;
use super::protocol::Service;

/// The server side of a driver.
#[derive(Debug)]
pub struct Dialect {
    /// The path that its requests come to; stands for them in logs.
    pub path: &'static str,
    /// How surely a request is meant for this driver. Looks at the body only where the parameters may be in it.
    pub addressed: fn(&Request<Bytes>) -> Addressed,
    /// Whether its verdicts come with what the number says about the person.
    pub tells_person: bool,
    /// Its code for each cause.
    pub word: fn(Cause) -> &'static Code,
    /// How far a signed time stamp may be from the clock, either way.
    pub clock_window: SignedDuration,
    /// The media types that a caller can choose from beside the default one.
    pub media_types: &'static [&'static str],
    /// Reads requests and writes answers.
    pub service: &'static dyn Service,
}

/// How surely a request is meant for a driver; the later variant is the surer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addressed {
    /// There is no sign of it.
    No,
    /// It is authenticated as this protocol does it.
    ByProof,
    /// It comes to a path of this protocol.
    ByPath,
    /// It names this very operation.
    ByName,
}

/// Why there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request cannot be read.
    Malformed,
    /// Its body is larger than any question.
    BodyTooLarge,
    /// Its head is.
    HeadTooLarge,
    /// It did not arrive in time.
    Late,
    /// There is nothing at this path.
    NoSuchPath,
    /// The path does not take this method.
    NoSuchMethod,
    /// The caller is not authenticated.
    Unauthenticated,
    /// The caller may not ask this.
    Forbidden,
    /// The name breaks a rule.
    InvalidName,
    /// The number breaks a rule.
    InvalidNumber,
    /// The pair breaks no rule of ours, but no provider accepts it.
    RejectedPair,
    /// The caller is over its rate.
    TooFast,
    /// This person was asked about too often, or too many people were.
    TooOften,
    /// The caller's budget is spent for this day or month.
    BudgetSpent,
    /// Every provider that was asked failed, and no call is pending.
    Failed,
    /// No provider can be asked now.
    Unavailable,
    /// This instance is overloaded or shutting down: nothing was begun.
    Busy,
    /// A call was sent and has not answered; it may be billed.
    Unknown,
    /// A defect of ours.
    Defect,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 19] = [
        Cause::Malformed,
        Cause::BodyTooLarge,
        Cause::HeadTooLarge,
        Cause::Late,
        Cause::NoSuchPath,
        Cause::NoSuchMethod,
        Cause::Unauthenticated,
        Cause::Forbidden,
        Cause::InvalidName,
        Cause::InvalidNumber,
        Cause::RejectedPair,
        Cause::TooFast,
        Cause::TooOften,
        Cause::BudgetSpent,
        Cause::Failed,
        Cause::Unavailable,
        Cause::Busy,
        Cause::Unknown,
        Cause::Defect,
    ];
}
