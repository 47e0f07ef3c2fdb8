//! Metric: expiry times of clients' keys, for alerts.
//!
//! Collected from the current configuration at each scrape, so a reload takes effect at once.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::server::snapshot::Current;

#[derive(Debug)]
pub struct Expiries {
    current: Current,
    /// Only provides the description of the family; never filled.
    empty: IntGaugeVec,
}

impl Expiries {
    ///
    /// # Errors
    /// If the family cannot be registered, which is a bug.
    pub fn new(current: Current) -> Result<Self, prometheus::Error> {
        Ok(Self { current, empty: family()? })
    }
}

fn family() -> Result<IntGaugeVec, prometheus::Error> {
    let help = "Expiry of a client's key (Unix time, seconds); keys that do not expire are left out.";
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
