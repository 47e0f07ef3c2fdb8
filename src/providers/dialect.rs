//! What an edge needs that speaks the providers' protocols to callers of its own, beside the four functions: which
//! requests are whose, and a protocol's own word for everything that keeps us from a verdict.
//!
//! Invariant: every [`Cause`] has a documented word in every protocol; the compiler sees to it. To add a cause: a variant,
//! and a word in each driver's table.

use std::fmt;

use bytes::Bytes;
use http::Request;
use jiff::civil::Date;

use super::{Code, DRIVERS, Driver};
use crate::domain::id_number::Sex;
use crate::domain::region::Region;

/// How a driver's protocol is recognised, and what it says when there is no verdict.
#[derive(Debug)]
pub struct Dialect {
    /// The path that its requests come to; stands for them in logs.
    pub path: &'static str,
    /// How surely a request is meant for this driver. Looks at the body only where the parameters may be in it.
    pub addressed: fn(&Request<Bytes>) -> Addressed,
    /// Whether its verdicts come with what the number tells.
    pub tells_person: bool,
    /// The one table: its word for each cause.
    pub word: fn(Cause) -> &'static Code,
}

/// How surely a request is meant for a driver; later is surer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addressed {
    /// There is no sign of it.
    No,
    /// Its caller proves who it is in the way of this protocol.
    ByProof,
    /// It comes to a path of this protocol.
    ByPath,
    /// It names this very operation.
    ByName,
}

/// Why there is no verdict, in the words of whoever answers.
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
    /// Nothing is done there with this method.
    NoSuchMethod,
    /// The caller does not show who it is.
    Unauthenticated,
    /// The caller may not ask this.
    Forbidden,
    /// The name breaks a rule.
    InvalidName,
    /// The number breaks a rule.
    InvalidNumber,
    /// The pair breaks no rule of ours, and nobody takes it.
    RejectedPair,
    /// The caller is over its rate.
    TooFast,
    /// This person was asked about too often, or too many people were.
    TooOften,
    /// What the caller may spend is spent, until its day or month is over.
    BudgetSpent,
    /// Everybody who was asked failed, and nothing is pending.
    Failed,
    /// Nobody can be asked now.
    Unavailable,
    /// Too much is going on, or this instance is going down: nothing was begun.
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

/// What the number tells, for protocols that repeat it. What is absent is left out of the answer.
#[derive(Clone, Default)]
pub struct Told {
    /// The day of birth.
    pub birth_date: Option<Date>,
    /// The sex.
    pub sex: Option<Sex>,
    /// Completed years.
    pub age: Option<u16>,
    /// Where the number was first registered.
    pub region: Option<Region>,
}

impl Told {
    /// What can be told without a table of regions and without a clock.
    pub fn by(number: &str) -> Self {
        let sequence = number.get(16..17).and_then(|digit| digit.parse::<u8>().ok());
        let sex = sequence.map(|sequence| if sequence % 2 == 1 { Sex::Male } else { Sex::Female });
        let birth_date = number.get(6..14).and_then(|digits| Date::strptime("%Y%m%d", digits).ok());
        Self { birth_date, sex, ..Self::default() }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(…)")
    }
}

/// The driver that `request` is most surely meant for, the first of equals; nothing if there is no sign of any.
pub fn addressee(request: &Request<Bytes>) -> Option<&'static Driver> {
    let mut surest = (Addressed::No, None);
    for &driver in DRIVERS {
        let sure = (driver.dialect.addressed)(request);
        if sure > surest.0 {
            surest = (sure, Some(driver));
        }
    }
    surest.1
}
