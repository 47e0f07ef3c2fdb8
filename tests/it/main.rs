//! All integration tests, in one binary.
//!
//! Folders mirror the modules. The tests run the real gateway on port 0, with the real sandbox as its providers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should say so and stop; tests are the outside world"
)]

mod api;
mod app;
mod clock;
mod compat;
mod contract;
mod domain;
mod layering;
mod ledger;
mod providers;
mod readme;
mod server;
mod shared;
mod shell;
mod storage;
mod support;
mod verify;
