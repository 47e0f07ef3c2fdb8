//! What the pages are made of.

use std::sync::Arc;

use axum::Router;
use prometheus::Registry;
use tokio::sync::Semaphore;

use super::config::Config;
use super::kept::Kept;
use super::question::Answered;
use super::reconciled::Reconcile;
use super::sought::Sought;
use crate::server::auth::sessions::Sessions;
use crate::server::http::minutes::Minutes;
use crate::server::http::recorder::Recorder;
use crate::server::pipeline::Pipeline;

/// How many exports may run at a time.
const EXPORTS: usize = 2;

/// How many comparisons with an uploaded export may run at a time.
const RECONCILIATIONS: usize = 2;

/// How many pages may read a day or a month from the ledger at a time.
const BREAKDOWNS: usize = 2;

/// What the pages are made of.
#[derive(Debug)]
pub struct Console {
    pub config: Config,
    pub pipeline: Arc<Pipeline>,
    pub recorder: Recorder,
    pub sessions: Arc<Sessions>,
    pub minutes: Arc<Minutes>,
    pub registry: Registry,
    /// Whether browsers come over TLS, so that cookies may be for TLS only.
    pub has_tls: bool,
    /// The routes for programs, through which the pages act. Set by `routes`.
    pub(in crate::server) inner: Router,
    /// The answers to questions, and the searches, that sessions can still look at.
    pub(super) answered: Kept<Answered>,
    pub(super) sought: Kept<Sought>,
    pub(super) exports: Arc<Semaphore>,
    pub(super) reconcile: Option<Arc<dyn Reconcile>>,
    pub(super) reconciliations: Arc<Semaphore>,
    pub(super) breakdowns: Semaphore,
}

impl Console {
    pub fn new(
        config: Config,
        pipeline: Arc<Pipeline>,
        recorder: Recorder,
        sessions: Arc<Sessions>,
        minutes: Arc<Minutes>,
        (registry, has_tls): (Registry, bool),
    ) -> Self {
        let (inner, exports) = (Router::new(), Arc::new(Semaphore::new(EXPORTS)));
        let reconciliations = Arc::new(Semaphore::new(RECONCILIATIONS));
        let (answered, sought) = (Kept::new(Arc::clone(&sessions)), Kept::new(Arc::clone(&sessions)));
        Self {
            config,
            pipeline,
            recorder,
            sessions,
            minutes,
            registry,
            has_tls,
            inner,
            answered,
            sought,
            exports,
            reconcile: None,
            reconciliations,
            breakdowns: Semaphore::new(BREAKDOWNS),
        }
    }

    /// The same, which compares providers' bills with the ledger.
    #[must_use]
    pub fn with_reconciliation(self, reconcile: impl Reconcile + 'static) -> Self {
        Self { reconcile: Some(Arc::new(reconcile)), ..self }
    }

    /// The same, with the routes for programs.
    #[must_use]
    pub(in crate::server) fn with_inner(self, inner: Router) -> Self {
        Self { inner, ..self }
    }
}
