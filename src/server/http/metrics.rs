//! The metrics of API requests.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

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

#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    overhead: HistogramVec,
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
        for source in ["provider", "shared", "cache", NO_SOURCE] {
            duration.with_label_values(&[source]);
            overhead.with_label_values(&[source]);
        }
        for status in ["500", "502", "503", "504"] {
            requests.with_label_values(&[UNKNOWN, UNKNOWN, status, NO_SOURCE]);
        }
        Ok(Self { requests, duration, overhead })
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
        self.requests.with_label_values(&[client, purpose, status, source]).inc();
        self.duration.with_label_values(&[source]).observe(total);
        self.overhead.with_label_values(&[source]).observe((total - upstream).max(0.0));
    }
}
