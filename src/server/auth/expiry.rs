//! When the keys of clients end, for whoever must be warned before they do.
//!
//! Made anew from the configuration at work each time it is looked at, so that a key that a reload has taken away is not
//! shown any more, and none is missed.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::server::snapshot::Current;

/// The ends of all keys that have one.
#[derive(Debug)]
pub struct Expiries {
    current: Current,
    /// Says what the family is; never filled.
    empty: IntGaugeVec,
}

impl Expiries {
    /// Those of the configuration that is at work when they are looked at.
    ///
    /// # Errors
    /// When the family cannot be declared, which is a defect of ours.
    pub fn new(current: Current) -> Result<Self, prometheus::Error> {
        Ok(Self { current, empty: family()? })
    }
}

fn family() -> Result<IntGaugeVec, prometheus::Error> {
    let help = "When a client's key ends (Unix time, seconds); keys without an end are not here.";
    IntGaugeVec::new(Opts::new("idgate_client_key_expiry_timestamp_seconds", help), &["client", "key_id"])
}

impl Collector for Expiries {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(family) = family() else { return Vec::new() };
        for (client, key_id, ends) in self.current.load().clients.expiries() {
            family.with_label_values(&[client, key_id]).set(ends.as_second());
        }
        family.collect()
    }
}
