//! The commands of the binary, one file each. Exit codes: 0 done, 1 failed, 64 wrong usage, 78 wrong configuration;
//! `reconcile` also has 2.

mod cli;
mod healthcheck;
mod key;
mod ledger;
mod output;
mod reconcile;
mod sandbox;
mod serve;
mod verify;

pub use cli::{Cli, main};
