//! Records finished requests: one log line and one metrics count each.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::access_log::{ADMIN_REQUEST, AccessLog, Line, REQUEST};
use super::metrics::{Metrics, NO_SOURCE, UNKNOWN};
use super::minutes::Minutes;
use super::trace::{Trace, Tracer};
use crate::domain::clock::{Clock, Ids};

/// Logs and counts requests. Clones share the log and the metrics.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Sinks>);

#[derive(Debug)]
struct Sinks {
    access_log: AccessLog,
    metrics: Metrics,
    clock: Clock,
    ids: Ids,
    tracer: Tracer,
    /// What the console shows; `None` without one.
    minutes: Option<Arc<Minutes>>,
}

/// Which listener received a request, and whether it is logged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Audience {
    /// The public listener: logged and counted.
    Services,
    /// The admin listener: logged, but not counted, because `idgate_requests_total` covers the API only.
    Operators,
    /// A route on the admin listener that probes and scrapers poll: neither logged nor counted.
    Probes,
}

impl Recorder {
    /// With `minutes`, requests are counted by minute too, for the console.
    pub fn new(
        access_log: AccessLog,
        metrics: Metrics,
        clock: Clock,
        ids: Ids,
        tracer: Tracer,
        minutes: Option<Arc<Minutes>>,
    ) -> Self {
        Self(Arc::new(Sinks { access_log, metrics, clock, ids, tracer, minutes }))
    }

    /// The trace of a request that begins now; `None` if it is not traced.
    pub(super) fn trace(&self, audience: Audience, head: &HeaderMap, began: Instant) -> Option<Box<Trace>> {
        // What operators do is in the ledger.
        if audience != Audience::Services {
            return None;
        }
        self.0.tracer.begin(head, began, || self.chance())
    }

    /// A random id.
    pub(super) fn chance(&self) -> Uuid {
        self.0.ids.nonce()
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.0.clock.wall()
    }

    /// An id for a request that has none.
    pub(super) fn new_id(&self) -> Uuid {
        self.0.ids.ordered()
    }

    /// Logs and counts a request that took `total`, including `waited` spent waiting for others.
    pub(super) fn record(&self, audience: Audience, line: Line<'_>, total: Duration, waited: Duration) {
        let kind = match audience {
            Audience::Services => REQUEST,
            Audience::Operators => ADMIN_REQUEST,
            Audience::Probes => return,
        };
        let Sinks { access_log, metrics, clock, minutes, .. } = &*self.0;
        let duration_ms = (total.as_secs_f64() * 1e6).round() / 1e3;
        let line = Line { time: clock.wall(), kind, duration_ms, ..line };
        access_log.write(&line);
        if audience == Audience::Services {
            if let Some(minutes) = minutes {
                minutes.count(&line, total);
            }
            metrics.request(
                line.client.unwrap_or(UNKNOWN),
                line.purpose.unwrap_or(UNKNOWN),
                http::StatusCode::from_u16(line.status).unwrap_or_default().as_str(),
                line.source.unwrap_or(NO_SOURCE),
                total.as_secs_f64(),
                waited.as_secs_f64(),
            );
        }
    }
}
