//! The commands, one file each. Exit codes: 0 success, 1 failure, 2 cannot tell (`reconcile` only), 3 ended
//! with losses in ledger or logs, 64 wrong usage,
//! 78 wrong configuration.

mod cli;
mod healthcheck;
mod key;
mod ledger;
mod output;
mod probes;
mod progress;
mod reconcile;
mod record;
mod sandbox;
mod serve;
mod spreadsheet;
mod verify;

pub use cli::{Cli, main};
