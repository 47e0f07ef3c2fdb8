//! The durable record of every answer and every paid call: who asked, the result, and the cost.
//!
//! Invariants: entries are appended in order, each sealed by the hash of all before it, and never changed; a person is
//! stored only as a keyed digest; [`Ledger::write`] returns once the entry is on the disk. A call is announced in the
//! journal before it is made, so a restart finds calls that were interrupted.
//!
//! The path of an announcement: `announcer` hands it to `journal_thread`, which owns the `journal`.
//!
//! The path of an entry: `queue` puts its `record` into the `inbox` of `writer`, which appends it to `spool` as part of a
//! `frame`; `flusher` moves it into `database` (by `insert`); `queries` reads it back (`spool_lookup` what cannot be
//! moved), and `claims` reads the entries about idempotency keys.

mod announcer;
mod borrowed;
mod breakdown;
mod by_day;
mod by_purpose;
mod chain_check;
mod chain_hash;
mod changes;
mod claims;
mod config;
mod cursor;
mod database;
mod entry;
mod error;
mod files;
mod flusher;
mod frame;
mod handle;
mod id_times;
mod inbox;
mod insert;
mod journal;
mod journal_thread;
mod key_claims;
mod metrics;
mod opening;
mod operations;
mod pace;
mod past;
pub mod postgres;
mod private_file;
mod queries;
mod queue;
mod reader;
mod recent;
mod record;
mod repair;
mod retention;
mod sealed;
mod shared;
mod spent;
mod spool;
mod spool_lookup;
mod start_check;
mod store;
mod sums;
#[cfg(test)]
mod tests;
mod wal;
mod watch;
mod writer;

pub use borrowed::AnswerRef;
pub use breakdown::CostLine;
pub use chain_check::{Broken, Checked, Expected};
pub use changes::{Changes, WantedChanges};
pub use claims::Claimed;
pub use config::Config;
pub use cursor::Cursor;
pub use database::{Times, confirm_time};
pub use entry::{Answer, Attempt, Begun, BegunCall, Call, Claim, End, Entry, Forgotten, Operation, Removed, Subject};
pub use error::{NotClaimed, NotWritten, OpenError, ReadError};
pub use files::{left_behind, spooled};
pub use handle::{Backlog, Ledger};
pub use postgres::Password;
pub use queries::{Answers, Found, Reader, Wanted};
pub use queue::{Calling, Flight};
pub use recent::{Past, PastCall, PastFlight, PastVerdict, Recent, Since};
pub use shared::Unavailable;
pub use spent::{Counted, OnDay, Spent};
