//! The durable record of every answer and every paid call: what was asked by whom, what came of it, what it cost.
//!
//! Invariants: entries are appended in order, each sealed by the hash of all before it, and never changed; a person is
//! there as a keyed digest only; [`Ledger::write`] returns when the entry is on the disk. A call is announced in the
//! journal before it is made, so that one whose end nobody saw is known after a restart. The trip of an entry: `writer`
//! takes it, `spool` has it on the disk, `mover` brings it into the database, `sqlite` keeps it there, `read` finds it,
//! `claims` what is about idempotency keys.
//!
//! To add a back end: one arm beside `sqlite` and `read`, with the same statements and a schema of its own.

mod chain_hash;
mod claims;
mod config;
mod database;
mod entry;
mod error;
mod files;
mod flusher;
mod handle;
mod journal;
mod metrics;
mod queries;
mod queue;
mod repair;
mod shared;
mod spent;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

pub use claims::Claimed;
pub use config::Config;
pub use entry::{Answer, Attempt, Begun, BegunCall, Call, Claim, End, Entry, Forgotten, Subject};
pub use error::{NotWritten, OpenError, ReadError};
pub use files::left_behind;
pub use handle::Ledger;
pub use queries::{Broken, Checked, Found, Reader, Wanted};
pub use queue::{Calling, Flight};
pub use spent::{Counted, Spent};
