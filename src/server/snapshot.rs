//! The current configuration as a request sees it: the runtime, clients and operators, rules and limits.
//!
//! Invariants: a request loads one [`Snapshot`] and keeps it until it ends, so it never sees half a reload; a reload
//! replaces the whole snapshot in one store, which cannot fail. Handlers hold a [`Current`], which can only load; `app`
//! holds the [`Switch`]. What a reload cannot change (sockets, the log, file locations) is not here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::auth::browsers::Hosts;
use super::auth::callers::Clients;
use super::auth::operators::Operators;
use super::compat;
use super::records::receipt::keys::Keys;
use crate::domain::id_number::Calendar;
use crate::domain::region::Regions;
use crate::domain::subject::PairRules;
use crate::verify::Runtime;

/// A configuration in use.
#[derive(Debug)]
pub struct Snapshot {
    /// The providers and all their state.
    pub runtime: Arc<Runtime>,
    pub clients: Clients,
    pub operators: Operators,
    /// The names under which this process may be asked without a key.
    pub hosts: Hosts,
    pub rules: Rules,
    pub regions: Arc<Regions>,
    /// Whether and how the providers' own protocols are served.
    pub compat: compat::Config,
    pub limits: Limits,
    /// The signing key of receipts, and all published keys.
    pub receipts: Keys,
    /// The version of this configuration, for the ledger.
    pub version: Arc<str>,
}

/// The local rules for names and ID numbers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether nonexistent birth dates are accepted.
    pub calendar: Calendar,
    /// The rules for the name and number together.
    pub pair: PairRules,
}

/// The limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest wait for a verdict.
    pub request_timeout: Duration,
    /// The longest wait for the body.
    pub body_timeout: Duration,
    pub max_body_bytes: usize,
}

/// Loads the current snapshot.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

/// Replaces the current snapshot.
#[derive(Debug)]
pub struct Switch(Arc<ArcSwap<Snapshot>>);

/// Stores the first snapshot and returns its reader and writer.
pub fn place(snapshot: Snapshot) -> (Current, Switch) {
    let place = Arc::new(ArcSwap::from_pointee(snapshot));
    (Current(Arc::clone(&place)), Switch(place))
}

impl Current {
    /// The current snapshot. Load it once and keep it for the whole request.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

impl Switch {
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Replaces the snapshot. Requests in flight finish with the old one.
    pub fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
