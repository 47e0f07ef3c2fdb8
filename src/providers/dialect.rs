//! The server side of a provider's protocol, apart from the functions of [`Service`]: recognizing its requests, and its
//! code for each reason for a missing verdict.
//!
//! Invariant: every [`Cause`] has a documented code in every protocol; matches without a wildcard enforce it. To add a
//! cause: a variant, and a code in each driver's table.

use bytes::Bytes;
use http::Request;
use jiff::SignedDuration;

use super::code::Code;
use super::protocol::Service;

/// The server side of a driver.
#[derive(Debug)]
pub struct Dialect {
    /// The path of its requests, also used in logs.
    pub path: &'static str,
    /// How likely a request addresses this driver. Reads the body only where it may contain the parameters.
    pub addressed: fn(&Request<Bytes>) -> Addressed,
    /// Whether its verdicts include the details derived from the number.
    pub tells_person: bool,
    pub word: fn(Cause) -> &'static Code,
    /// The maximum distance between a signed time stamp and the clock, in either direction.
    pub clock_window: SignedDuration,
    /// The media types that a caller can choose instead of the default.
    pub media_types: &'static [&'static str],
    pub service: &'static dyn Service,
}

/// How likely a request addresses a driver, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addressed {
    No,
    /// The request carries this protocol's authentication.
    ByProof,
    /// The path belongs to this protocol.
    ByPath,
    /// The request names this operation.
    ByName,
}

/// Why there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request cannot be parsed.
    Malformed,
    /// The body is larger than any valid request.
    BodyTooLarge,
    /// The headers are larger than any valid request.
    HeadTooLarge,
    /// The request did not arrive in time.
    Late,
    /// Unknown path.
    NoSuchPath,
    /// The path does not accept this method.
    NoSuchMethod,
    Unauthenticated,
    /// The caller lacks permission.
    Forbidden,
    /// Invalid name.
    InvalidName,
    /// Invalid number.
    InvalidNumber,
    /// The pair is valid by our rules, but no provider accepts it.
    RejectedPair,
    /// The caller exceeds its rate limit.
    TooFast,
    /// This person was checked too often, or the caller checked too many people.
    TooOften,
    /// The caller's budget for this day or month is used up.
    BudgetSpent,
    /// Every attempt failed, and no call is pending.
    Failed,
    /// No provider is available.
    Unavailable,
    /// This instance is overloaded or shutting down, and did not start the check.
    Busy,
    /// A call was sent without a response; it may be billed.
    Unknown,
    /// An internal error.
    Defect,
}

impl Cause {
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
