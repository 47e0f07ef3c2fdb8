//! What replicas share through Redis: remembered verdicts, leases of calls under way, counts and limits.
//!
//! Redis only saves money and keeps limits exact; it never decides whether a caller is answered. Every operation here
//! can return [`Away`], and its callers have a local stand-in. Nothing in Redis is a record. All that is known about a
//! person is one hash under the person's digest, so that a script is atomic, takes one round trip, and *forget* is one
//! command.
//!
//! `link` holds the connection, `behind` what nobody waits for, `script` the scripts; `bus` wakes waiting flights; `members` and `beat` track the other
//! replicas; `verdict` encodes a verdict. The operations are in `leases`, `limits`, `budgets`, `clients`, `numbers` and
//! `bills`.

mod acknowledged;
mod beat;
mod behind;
mod bills;
mod budgets;
mod bus;
mod client_share;
mod clients;
mod config;
mod forgetting;
mod leases;
mod limits;
mod link;
mod members;
mod metrics;
mod numbers;
mod open;
mod password;
mod patience;
mod place;
mod probe;
mod script;
mod told;
mod totals;
mod unlanded;
mod verdict;

pub use acknowledged::Acknowledge;
pub use bills::Bill;
pub use bus::Event;
pub use client_share::ClientShare;
pub use config::{Config, Section};
pub use forgetting::ForgottenElsewhere;
pub use leases::{Ending, Landed, Look, Wanted};
pub use limits::{Booking, Refusal, Tried};
pub use members::{Description, Member, State};
pub use metrics::Role;
pub use open::Shared;
pub use password::{Password, Tls};
pub use patience::{Away, Patience};
pub use place::Place;
pub use probe::{Finding, probe};
pub use told::{Lease, Told};
pub use totals::{Granted, Others, Owner, Totals};
