//! The core of the gateway: takes a question, returns a verdict.
//!
//! A question passes these steps, outermost first; each step has a file of that name:
//! 0. `enumeration`: refuses a client that tries out names or ID numbers;
//! 1. `cached_lookup`: answers from the verdict cache, joins a call in flight, or starts a flight of its own,
//!    within its `places`;
//! 2. `chain`: asks the providers in order; the outcome table in `domain::outcome` decides what comes next;
//! 3. `endpoint`: the checks that may refuse a call (slot, account, breaker, hold, budget, rate), then the attempt
//!    timeout;
//! 4. `exchange`: encodes, sends and decodes; the only place that talks to a provider.
//!
//! `replicas` asks the other replicas before a flight calls, and tells them after it.
//!
//! `runtime` assembles all of it from `config` and `deps`. `warmer` restores from the ledger what an earlier process
//! knew. `billing` reserves and counts the money, `credentials` keeps fetched keys fresh, `ledger_entries` builds the
//! ledger entries, `metrics` counts, `status` reports to operators, and `outbound` makes the HTTP clients. This module
//! does not know the HTTP documents of our own API.

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
mod flight_result;
#[cfg(test)]
mod footprint;
pub mod holds;
mod isolation;
mod joined_flight;
mod landing;
mod ledger_entries;
mod metrics;
pub mod outbound;
mod places;
pub mod policy;
mod provider;
mod question;
mod recall;
mod replica_messages;
mod replicas;
mod runtime;
mod scopes;
mod status;
mod unanswered;
mod verdict_cache;
mod warmer;
mod warming;

pub use config::{Config, ProviderConfig};
pub use deps::Deps;
pub use erasure::{Forgotten, Traces};
pub use isolation::Isolated;
pub use joined_flight::JoinedFlight;
pub use landing::Landing;
pub use metrics::{Avoided, Metrics};
pub use places::{NoPlace, Place, Places};
pub use question::{Answer, Attempt, Failure, FailureKind, Freshness, Question, Source, Ticket};
pub use recall::Recall;
pub use runtime::{BuildError, Runtime};
pub use status::{AccountStatus, CredentialStatus, EndpointStatus, FaultStatus, ProviderStatus, Unavailable};
pub use warming::{Warming, WarmingState};
