//! What one configuration means for a request: the running graph, who may ask, the rules, the limits.
//!
//! Invariants: a request reads one [`Snapshot`] and keeps it to its end, so it never sees half of a reload; all of it is
//! replaced in one store, which cannot fail. Handlers hold a [`Current`], which can only load; the [`Switch`] belongs to
//! `app`. What a reload cannot change (sockets, log, places) is not here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::auth::callers::Clients;
use super::auth::operators::Operators;
use super::compat;
use super::records::receipt::keys::Keys;
use crate::domain::id_number::Calendar;
use crate::domain::region::Regions;
use crate::domain::subject::PairRules;
use crate::verify::Runtime;

/// One configuration at work.
#[derive(Debug)]
pub struct Snapshot {
    /// The running graph.
    pub runtime: Arc<Runtime>,
    /// Who may ask.
    pub clients: Clients,
    /// Who may operate.
    pub operators: Operators,
    /// The local rules.
    pub rules: Rules,
    /// Region names.
    pub regions: Arc<Regions>,
    /// How the providers' own protocols are spoken.
    pub compat: compat::Config,
    /// The limits of a request.
    pub limits: Limits,
    /// The keys of receipts.
    pub receipts: Keys,
    /// Names this configuration, for the ledger.
    pub version: Arc<str>,
}

/// The local rules for names and numbers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How birth dates that no calendar knows are taken.
    pub calendar: Calendar,
    /// The rules for the pair.
    pub pair: PairRules,
}

/// The limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest wait for a verdict.
    pub request_timeout: Duration,
    /// The longest wait for the body.
    pub body_timeout: Duration,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

/// Reads the snapshot of the moment.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

/// Replaces the snapshot.
#[derive(Debug)]
pub struct Switch(Arc<ArcSwap<Snapshot>>);

/// Puts a snapshot into its place and gives out both halves.
pub fn place(snapshot: Snapshot) -> (Current, Switch) {
    let place = Arc::new(ArcSwap::from_pointee(snapshot));
    (Current(Arc::clone(&place)), Switch(place))
}

impl Current {
    /// The snapshot of this moment; keep it for the whole request.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

impl Switch {
    /// The snapshot that is in place.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts `snapshot` into the place; requests under way finish on the old one.
    pub fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
