//! The connection metrics of every listener.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{Connections, Listener, TlsSwitch};

/// The metric families, and the listeners they report.
#[derive(Debug)]
pub struct Metrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
    timed_out: IntCounterVec,
    evicted: IntCounterVec,
    expiry: IntGaugeVec,
    handshakes_failed: IntCounterVec,
    listeners: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    connections: Connections,
    tls: Option<TlsSwitch>,
}

impl Metrics {
    /// Creates the families and registers them.
    ///
    /// # Errors
    /// If `registry` already has them.
    pub fn register(registry: &Registry, listeners: &[(&'static str, &Listener)]) -> Result<Self, prometheus::Error> {
        let open = IntGaugeVec::new(Opts::new("idgate_connections", "Connections open now."), &["listener"])?;
        let refused = IntCounterVec::new(
            Opts::new("idgate_connections_refused_total", "Connections turned away because too many were open."),
            &["listener"],
        )?;
        let timed_out = IntCounterVec::new(
            Opts::new("idgate_connections_timed_out_total", "Connections cut because a request head came too late."),
            &["listener"],
        )?;
        let evicted = IntCounterVec::new(
            Opts::new(
                "idgate_connections_evicted_total",
                "Connections cut because the unfinished heads of all connections were too large.",
            ),
            &["listener"],
        )?;
        let expiry = IntGaugeVec::new(
            Opts::new(
                "idgate_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that new connections are shown ends, in Unix time; no series without TLS.",
            ),
            &["listener"],
        )?;
        let handshakes_failed = IntCounterVec::new(
            Opts::new("idgate_tls_handshake_failures_total", "Connections that ended before they were TLS, by reason."),
            &["listener", "reason"],
        )?;
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(handshakes_failed.clone()))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(timed_out.clone()))?;
        registry.register(Box::new(evicted.clone()))?;
        let watch = |(name, listener): &(&'static str, &Listener)| Watched {
            name,
            connections: listener.connections(),
            tls: listener.tls(),
        };
        let listeners = listeners.iter().map(watch).collect();
        let metrics = Self { open, refused, timed_out, evicted, expiry, handshakes_failed, listeners };
        metrics.refresh();
        Ok(metrics)
    }

    /// Updates the families. Call it before they are read.
    pub fn refresh(&self) {
        for Watched { name, connections, tls } in &self.listeners {
            self.open.with_label_values(&[name]).set(i64::try_from(connections.open()).unwrap_or(i64::MAX));
            raise(&self.refused, &[name], connections.refused_total());
            raise(&self.timed_out, &[name], connections.timed_out_total());
            raise(&self.evicted, &[name], connections.evicted_total());
            let Some(tls) = tls else { continue };
            if let Some(end) = tls.load().expires() {
                self.expiry.with_label_values(&[name]).set(end.as_second());
            }
            for (reason, total) in connections.handshakes_failed_total() {
                raise(&self.handshakes_failed, &[name, reason.as_str()], total);
            }
        }
    }
}

/// Raises a counter to a total that is kept elsewhere.
fn raise(family: &IntCounterVec, labels: &[&str], total: u64) {
    let counter = family.with_label_values(labels);
    counter.inc_by(total.saturating_sub(counter.get()));
}
