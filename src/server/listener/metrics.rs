//! The connections of every listener, as metrics.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::Connections;

/// The families, and the listeners they show.
#[derive(Debug)]
pub struct Metrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
    timed_out: IntCounterVec,
    listeners: Vec<(&'static str, Connections)>,
}

impl Metrics {
    /// Declares the families and registers them.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn register(
        registry: &Registry,
        listeners: Vec<(&'static str, Connections)>,
    ) -> Result<Self, prometheus::Error> {
        let open = IntGaugeVec::new(Opts::new("idgate_connections", "Connections open now."), &["listener"])?;
        let refused = IntCounterVec::new(
            Opts::new("idgate_connections_refused_total", "Connections turned away because too many were open."),
            &["listener"],
        )?;
        let timed_out = IntCounterVec::new(
            Opts::new("idgate_connections_timed_out_total", "Connections cut because a request head came too late."),
            &["listener"],
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(timed_out.clone()))?;
        let metrics = Self { open, refused, timed_out, listeners };
        metrics.refresh();
        Ok(metrics)
    }

    /// Brings the families up to date; called before they are read.
    pub fn refresh(&self) {
        for (name, connections) in &self.listeners {
            self.open.with_label_values(&[name]).set(i64::try_from(connections.open()).unwrap_or(i64::MAX));
            for (family, total) in
                [(&self.refused, connections.refused_total()), (&self.timed_out, connections.timed_out_total())]
            {
                let counter = family.with_label_values(&[name]);
                counter.inc_by(total.saturating_sub(counter.get()));
            }
        }
    }
}
