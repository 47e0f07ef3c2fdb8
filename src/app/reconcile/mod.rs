//! Compares a provider's usage export with the calls in the ledger, for the command and for the console.

pub(super) use calls::Calls;
pub(super) use compare::{Export, Most, check_provider};
pub(super) use console_reconciler::ConsoleReconciler;
pub(super) use usage::Form;

mod calls;
mod compare;
mod console_reconciler;
mod matching;
mod report;
mod span;
mod usage;
