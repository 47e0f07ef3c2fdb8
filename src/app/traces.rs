//! Sends traces in OpenTelemetry's protocol (OTLP over HTTP). The only module that knows OpenTelemetry.
//!
//! Invariants: a request never waits for it, since a trace goes into a bounded queue, or is counted and lost. A thread of
//! its own sends; one batch takes at most `tracing.timeout`, and nothing is sent twice. The end of the process waits a
//! fixed time and leaves the rest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use rustls::RootCertStore;
use tokio::time::Instant;

use super::config::Tracing;
use crate::server::http::trace::{Finished, Key, Sink, Step, Tracer, Value};

/// The name of the thread, of the service and of what made the spans.
const NAME: &str = "idgate";
/// How long a trace waits for others to be sent with it.
const GATHER: Duration = Duration::from_secs(1);
/// The most traces sent at once.
const MOST_AT_ONCE: usize = 256;
/// Why spans are lost.
const REASONS: [&str; 2] = ["queue", "export"];

/// The queue, and the thread that empties it. Clones share them.
#[derive(Debug, Clone)]
pub struct Traces(Option<Arc<Queue>>);

struct Queue {
    sender: SyncSender<Order>,
    /// Requests that wait or are being sent.
    waiting: Arc<AtomicUsize>,
    /// The most of them.
    most: usize,
    is_ended: Arc<AtomicBool>,
    dropped: IntCounter,
}

enum Order {
    Send(Box<Finished>),
    /// Send what is left, and say so.
    End(SyncSender<()>),
}

struct Sender {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    exported: IntCounter,
    dropped: IntCounter,
    waiting: Arc<AtomicUsize>,
    is_ended: Arc<AtomicBool>,
    is_failing: bool,
}

/// Why traces cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent: {0}")]
pub struct Unusable(String);

impl From<prometheus::Error> for Unusable {
    fn from(error: prometheus::Error) -> Self {
        Self(error.to_string())
    }
}

impl Traces {
    /// Starts the thread, if there is a section `[tracing]`, and registers the counts of spans.
    ///
    /// # Errors
    /// A count was registered twice, or the system cannot start a thread.
    pub fn start(config: Option<&Tracing>, registry: &Registry) -> Result<(Self, Tracer), Unusable> {
        let exported = IntCounter::new("idgate_spans_exported_total", "Spans that the collector of traces has taken.")?;
        let dropped =
            Opts::new("idgate_spans_dropped_total", "Spans that were lost, as the queue was full or sending failed.");
        let dropped = IntCounterVec::new(dropped, &["reason"])?;
        registry.register(Box::new(exported.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        let [queue, export] = REASONS.map(|reason| dropped.with_label_values(&[reason]));
        let Some(config) = config.cloned() else { return Ok((Self(None), Tracer::default())) };
        // `waiting` is the bound; the last place is for the end.
        let (sender, orders) = mpsc::sync_channel(config.queue.saturating_add(1));
        let (waiting, is_ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (ratio, most) = (config.ratio, config.queue);
        let (of_thread, ends) = (Arc::clone(&waiting), Arc::clone(&is_ended));
        // The blocking client of the exporter must be made and used where no runtime is.
        let run = move || match exporter(&config) {
            Ok(exporter) => {
                let scope = InstrumentationScope::builder(NAME).build();
                let sender = Sender {
                    exporter,
                    scope,
                    exported,
                    dropped: export,
                    waiting: of_thread,
                    is_ended: ends,
                    is_failing: false,
                };
                sender.run(&orders);
            }
            Err(error) => tracing::error!(%error, "nothing is traced"),
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(run)
            .map_err(|error| Unusable(error.to_string()))?;
        let queue = Arc::new(Queue { sender, waiting, most, is_ended, dropped: queue });
        let tracer = Tracer::new(ratio, Arc::clone(&queue) as Arc<dyn Sink>);
        Ok((Self(Some(queue)), tracer))
    }

    /// Sends what is left, for at most `limit`. What is not sent by then is counted as lost. Blocks the thread.
    pub fn end(&self, limit: Duration) {
        let Some(queue) = &self.0 else { return };
        let (done, ended) = mpsc::sync_channel(1);
        let is_ended = queue.sender.try_send(Order::End(done)).is_ok() && ended.recv_timeout(limit).is_ok();
        queue.is_ended.store(true, Ordering::Relaxed);
        let left = queue.waiting.load(Ordering::Relaxed);
        if !is_ended && left > 0 {
            tracing::warn!(
                requests = left,
                "the traces of the last requests are lost; the collector did not take them"
            );
        }
    }
}

impl Sink for Queue {
    fn take(&self, finished: Finished) {
        let spans = finished.steps.len() + 1;
        let is_full = self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most;
        if is_full || self.sender.try_send(Order::Send(Box::new(finished))).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Sender {
    /// Sends until the process ends.
    fn run(mut self, orders: &Receiver<Order>) {
        let mut batch = Vec::new();
        let mut due = Instant::now();
        loop {
            let order = match batch.is_empty() {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(Order::Send(finished)) => {
                    if batch.is_empty() {
                        due = Instant::now() + GATHER;
                    }
                    batch.push(*finished);
                    if batch.len() < MOST_AT_ONCE {
                        continue;
                    }
                    self.send(&mut batch);
                }
                Ok(Order::End(done)) => {
                    self.send(&mut batch);
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => self.send(&mut batch),
                Err(RecvTimeoutError::Disconnected) => return self.send(&mut batch),
            }
            if self.is_ended.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn send(&mut self, batch: &mut Vec<Finished>) {
        let requests = batch.len();
        if requests == 0 {
            return;
        }
        let spans: Vec<_> = batch.drain(..).flat_map(|finished| spans(finished, &self.scope)).collect();
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        // The client of the exporter blocks, so that it is ready at once.
        match self.exporter.export(spans).now_or_never() {
            Some(Ok(())) => {
                self.exported.inc_by(count);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector of traces takes them again");
                }
            }
            // Its text may quote the URL and the collector's answer.
            Some(Err(_)) | None => {
                self.dropped.inc_by(count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!("tracing.endpoint does not take traces; they are lost until it does");
                }
            }
        }
        self.waiting.fetch_sub(requests, Ordering::Relaxed);
    }
}

fn exporter(config: &Tracing) -> Result<SpanExporter, Unusable> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| Unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        // Ignores the proxies of the environment.
        .no_proxy()
        .timeout(config.timeout)
        .build()
        .map_err(|error| Unusable(error.without_url().to_string()))?;
    let headers: HashMap<_, _> =
        config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.endpoint.clone())
        .with_timeout(config.timeout)
        .with_headers(headers)
        .with_retry_policy(RetryPolicy::disabled())
        .build();
    let mut exporter = exporter.map_err(|error| Unusable(error.to_string()))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    // Without what the environment says of the process, which may be anything.
    exporter.set_resource(&Resource::builder_empty().with_service_name(NAME).with_attribute(version).build());
    Ok(exporter)
}

/// The span of a request, then those of its steps.
fn spans(finished: Finished, scope: &InstrumentationScope) -> Vec<SpanData> {
    let Finished { trace, span, parent, ended, took, attributes, is_error, steps } = finished;
    let ended = SystemTime::from(ended);
    let began = ended.checked_sub(took).unwrap_or(ended);
    let at = |since: Duration| began.checked_add(since).unwrap_or(ended);
    let first = u64::from_be_bytes(span);
    let context = |id: u64| {
        let id = SpanId::from_bytes(id.max(1).to_be_bytes());
        SpanContext::new(TraceId::from_bytes(trace), id, TraceFlags::SAMPLED, false, TraceState::NONE)
    };
    let status = |is_error| if is_error { Status::error("") } else { Status::Unset };
    let plain = |name: &'static str, id| SpanData {
        span_context: context(id),
        parent_span_id: SpanId::from_bytes(span),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(name),
        start_time: began,
        end_time: ended,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    };
    let request = SpanData {
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        attributes: key_values(attributes),
        status: status(is_error),
        ..plain("request", first)
    };
    let steps = (1..).zip(steps).map(|(index, step)| SpanData {
        span_kind: if step.step == Step::Attempt { SpanKind::Client } else { SpanKind::Internal },
        start_time: at(step.began),
        end_time: at(step.began.saturating_add(step.took)),
        attributes: key_values(step.attributes),
        status: status(step.is_error),
        ..plain(step.step.into(), first.wrapping_add(index))
    });
    std::iter::once(request).chain(steps).collect()
}

fn key_values(attributes: Vec<(Key, Value)>) -> Vec<KeyValue> {
    let pair = |(key, value)| {
        let key: &'static str = Key::into(key);
        match value {
            Value::Word(word) => KeyValue::new(key, word),
            Value::Name(name) => KeyValue::new(key, name),
            Value::Number(number) => KeyValue::new(key, number),
            Value::Id(id) => KeyValue::new(key, id.to_string()),
        }
    };
    attributes.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use strum::VariantArray;

    use super::*;
    use crate::server::http::trace::Span;

    fn finished(parent: Option<[u8; 8]>) -> Finished {
        let step = |step, began, is_error| Span {
            step,
            began: Duration::from_millis(began),
            took: Duration::from_millis(2),
            attributes: vec![(Key::Outcome, Value::Word("timeout"))],
            is_error,
        };
        Finished {
            trace: [1; 16],
            span: [0x7f; 8],
            parent,
            ended: jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(10),
            took: Duration::from_millis(10),
            attributes: vec![(Key::Client, Value::Name(Arc::from("c"))), (Key::Status, Value::Number(502))],
            is_error: true,
            steps: vec![step(Step::Recall, 1, false), step(Step::Attempt, 3, true)],
        }
    }

    #[test]
    fn steps_are_children_of_their_request_within_its_time() {
        let scope = InstrumentationScope::builder(NAME).build();
        let [request, recall, attempt] = &spans(finished(Some([2; 8])), &scope)[..] else { panic!("three spans") };
        assert_eq!(request.parent_span_id, SpanId::from_bytes([2; 8]));
        assert!(request.parent_span_is_remote && request.span_kind == SpanKind::Server);
        let id = request.span_context.span_id();
        for child in [recall, attempt] {
            assert!(child.parent_span_id == id && !child.parent_span_is_remote);
            assert_eq!(child.span_context.trace_id(), request.span_context.trace_id());
            assert!(child.span_context.is_valid() && child.start_time > request.start_time);
            assert!(child.end_time < request.end_time);
        }
        assert_ne!(recall.span_context.span_id(), attempt.span_context.span_id());
        assert_eq!((&*recall.name, &*attempt.name, &recall.status), ("recall", "attempt", &Status::Unset));
        assert!(matches!(attempt.status, Status::Error { .. }) && attempt.span_kind == SpanKind::Client);
        let told: Vec<_> = request.attributes.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
        assert_eq!(told, [("idgate.client", "c".into()), ("http.response.status_code", "502".into())]);
        let root = &spans(finished(None), &scope)[0];
        assert!(root.parent_span_id == SpanId::INVALID && !root.parent_span_is_remote);
        for key in Key::VARIANTS {
            let word: &'static str = key.into();
            assert!(word.starts_with("idgate.") || word.starts_with("http."), "{word}");
        }
    }

    #[test]
    fn a_collector_that_never_answers_bounds_the_queue_and_the_end() {
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Tracing {
            endpoint: format!("http://{}/v1/traces", collector.local_addr().unwrap()),
            ratio: 1.0,
            queue: 3,
            timeout: Duration::from_secs(30),
            headers: Vec::new(),
        };
        let registry = Registry::new();
        let (traces, _tracer) = Traces::start(Some(&config), &registry).unwrap();
        let queue = traces.0.clone().unwrap();
        (0..10).for_each(|_| queue.take(finished(None)));
        let lost = queue.dropped.get();
        assert_eq!(lost, 7 * 3, "spans of the requests that had no place");
        let began = Instant::now();
        traces.end(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(collector);
    }

    #[test]
    fn nothing_runs_without_an_endpoint() {
        let (traces, _) = Traces::start(None, &Registry::new()).unwrap();
        assert!(traces.0.is_none());
        traces.end(Duration::ZERO);
    }
}
