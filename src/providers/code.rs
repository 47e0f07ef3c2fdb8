//! A provider's documented codes, ours beside theirs.

use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};

/// One documented word of a provider and what it means to us. Rows are read in both directions.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The code on the wire, or the beginning of the text where the provider has only texts.
    pub code: &'static str,
    /// The HTTP status it comes with.
    pub status: u16,
    /// The text that the provider documents beside it; a simulator sends it.
    pub message: &'static str,
    /// What it means to us.
    pub outcome: Outcome,
    /// The finer cause.
    pub reason: Reason,
    /// Whether it is billed, where that is known better than [`Outcome::rule`] says.
    pub billed: Option<Billed>,
}

impl Code {
    /// A row billed as the outcome table says.
    pub const fn new(code: &'static str, status: u16, message: &'static str, outcome: Outcome, reason: Reason) -> Self {
        Self { code, status, message, outcome, reason, billed: None }
    }

    /// The fault that this row stands for.
    pub fn fault(&self) -> Fault {
        let plain = Fault::new(self.outcome, self.reason);
        Fault { code: Some(self.code), billed: self.billed.unwrap_or(plain.billed), ..plain }
    }
}
