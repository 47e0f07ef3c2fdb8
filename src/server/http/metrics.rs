//! The metrics of API requests.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// Seconds. A cache hit takes about 20 µs and a provider call about 80 ms. Dense around the limits: an attempt ends
/// after 3 s, a request after 8 s.
const DURATION: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 2.75, 3.0, 4.0, 5.0, 6.5,
    8.0, 10.0,
];
const OVERHEAD: [f64; 9] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1];

/// The `source` label of a request without a verdict.
pub const NO_SOURCE: &str = "none";
/// The client and purpose of a request that was refused before they were known.
pub const UNKNOWN: &str = "unknown";

/// How many counters are found without hashing their labels. Beyond that, requests cost a little more.
const MOST_KNOWN: usize = 16;

#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    /// The first counters that were used.
    known: Arc<ArcSwap<Vec<Known>>>,
    by_source: Arc<[BySource]>,
}

/// The counter of requests with these labels.
#[derive(Debug, Clone)]
struct Known {
    labels: [Arc<str>; 4],
    requests: IntCounter,
}

/// The histograms of one source.
#[derive(Debug)]
struct BySource {
    source: &'static str,
    duration: Histogram,
    overhead: Histogram,
}

impl Metrics {
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "idgate_requests_total",
                "Requests to the API, by client, purpose, status and source of the answer.",
            ),
            &["client", "purpose", "status", "source"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new("idgate_request_duration_seconds", "Time from the head of a request to its answer.")
                .buckets(DURATION.to_vec()),
            &["source"],
        )?;
        let overhead = HistogramVec::new(
            HistogramOpts::new("idgate_overhead_seconds", "The same, without waiting for providers or other requests.")
                .buckets(OVERHEAD.to_vec()),
            &["source"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(overhead.clone()))?;
        let by_source = ["cache", "provider", "shared", NO_SOURCE].map(|source| BySource {
            source,
            duration: duration.with_label_values(&[source]),
            overhead: overhead.with_label_values(&[source]),
        });
        for status in ["500", "502", "503", "504"] {
            requests.with_label_values(&[UNKNOWN, UNKNOWN, status, NO_SOURCE]);
        }
        Ok(Self { requests, known: Arc::default(), by_source: Arc::new(by_source) })
    }

    /// Counts one request. `total` is its duration in seconds, `upstream` the part of it that was spent waiting.
    pub(in crate::server) fn request(
        &self,
        client: &str,
        purpose: &str,
        status: &str,
        source: &str,
        total: f64,
        upstream: f64,
    ) {
        self.count([client, purpose, status, source]);
        if let Some(histograms) = self.by_source.iter().find(|one| one.source == source) {
            histograms.duration.observe(total);
            histograms.overhead.observe((total - upstream).max(0.0));
        }
    }

    fn count(&self, labels: [&str; 4]) {
        let known = self.known.load();
        let is_meant = |one: &&Known| one.labels.iter().zip(labels).all(|(known, label)| **known == *label);
        if let Some(one) = known.iter().find(is_meant) {
            return one.requests.inc();
        }
        let requests = self.requests.with_label_values(&labels);
        requests.inc();
        if known.len() < MOST_KNOWN {
            let new = Known { labels: labels.map(Arc::from), requests };
            // Two requests may both do this. Then it is found twice, and is the same counter.
            self.known.rcu(|known| known.iter().chain([&new]).cloned().collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_under_its_own_labels_also_beyond_the_counters_that_are_known() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let clients: Vec<_> = (0..2 * MOST_KNOWN).map(|n| format!("c{n}")).collect();
        for client in clients.iter().chain(&clients) {
            metrics.request(client, "p", "200", "cache", 0.001, 0.0);
            metrics.request(client, "p", "503", NO_SOURCE, 0.001, 0.0);
        }
        for client in &clients {
            for labels in [[client, "p", "200", "cache"], [client, "p", "503", NO_SOURCE]] {
                assert_eq!(metrics.requests.with_label_values(&labels).get(), 2, "{labels:?}");
            }
        }
        let observed: Vec<_> = metrics.by_source.iter().map(|one| one.duration.get_sample_count()).collect();
        assert_eq!(observed, [64, 0, 0, 64]);
        assert!(metrics.known.load().len() <= MOST_KNOWN);
    }
}
