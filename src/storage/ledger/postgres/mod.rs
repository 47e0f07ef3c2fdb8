//! PostgreSQL as the record of many replicas, behind the spool of each. `write` and `read` are its two sides, `link`
//! knows whether it answers, `books` are the hash chains, `keys` the idempotency keys of all replicas.

mod books;
mod by_purpose;
mod changes;
mod check;
mod config;
mod connecting;
mod daily;
mod kept;
pub(super) mod keys;
mod link;
mod operate;
mod read;
mod rows;
mod schema;
mod sql;
mod write;

pub use check::{Books, BrokenBook, ExpectedSeal, SoundBook};
pub use config::{Config, Password};
pub(super) use connecting::may_pass;
pub(super) use kept::files as kept_files;
pub(super) use link::Link;
pub use operate::{Exported, Imported, OperateError, Record, confirm_time, import, migrate, probe};
pub(super) use read::Reader;
pub(super) use write::Store;
