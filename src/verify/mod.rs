//! The product: a question goes in, a verdict comes out.
//!
//! The trip of a question, outermost step first; each step has a file of that name:
//! 0. `enumeration`: refuses a client that tries out names or numbers;
//! 1. `cached_lookup`: answers from the verdict cache, joins a call in flight, or starts a flight in a task of its own;
//! 2. `chain`: asks the providers in order; the outcome table in `domain::outcome` decides what is next;
//! 3. `endpoint`: everything that may refuse a call (slot, account, breaker, hold, rate), then the attempt timeout;
//! 4. `exchange`: encodes, sends and decodes; the only place that talks to a provider.
//!
//! `runtime` assembles all of it from `config` and `deps`. `billing` reserves and counts the money, `credentials` keeps
//! the keys that are fetched, `ledger_entries` says what the ledger is told, `metrics` counts, `status` shows, and
//! `outbound` makes the HTTP clients. No HTTP document of our own API is known here.

mod account;
pub mod billing;
mod cached_lookup;
mod chain;
mod config;
mod credentials;
mod deps;
mod endpoint;
pub mod enumeration;
mod erasure;
mod exchange;
mod failure;
pub mod holds;
mod ledger_entries;
mod metrics;
pub mod outbound;
pub mod policy;
mod provider;
mod question;
mod runtime;
mod status;
mod verdict_cache;

pub use config::{Config, ProviderConfig};
pub use deps::Deps;
pub use erasure::{Forgotten, Traces};
pub use metrics::{Avoided, Metrics};
pub use question::{Answer, Attempt, Failure, FailureKind, Freshness, Question, Source, Ticket};
pub use runtime::{BuildError, Runtime};
pub use status::{AccountStatus, CredentialStatus, EndpointStatus, FaultStatus, ProviderStatus};
