//! A provider's documented codes and the faults they map to.

use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};

/// One documented code of a provider and its meaning. Rows are used for decoding and encoding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The code on the wire, or the prefix of the text where the provider has no codes.
    pub code: &'static str,
    /// The HTTP status sent with it.
    pub status: u16,
    /// The documented text; a simulator sends it.
    pub message: &'static str,
    pub outcome: Outcome,
    /// The more specific cause.
    pub reason: Reason,
    /// Whether it is billed, where that differs from [`Outcome::rule`].
    pub billed: Option<Billed>,
}

impl Code {
    /// A row that is billed by the outcome table.
    pub const fn new(code: &'static str, status: u16, message: &'static str, outcome: Outcome, reason: Reason) -> Self {
        Self { code, status, message, outcome, reason, billed: None }
    }

    /// The fault for this row.
    pub fn fault(&self) -> Fault {
        let plain = Fault::new(self.outcome, self.reason);
        Fault { code: Some(self.code), billed: self.billed.unwrap_or(plain.billed), ..plain }
    }
}
