//! Every provider's own protocol for our callers, answered by our verifier: a caller with code for a provider keeps it and
//! changes only the endpoint and the key.
//!
//! One generic piece over the codec: find the driver that a request is meant for, decode it and check its signature, ask
//! as any other question is asked, encode the answer. It knows no provider by name. Invariants: what is answered here is
//! in the words of the protocol, never a problem document; a question takes the same steps as one to [`api`](super::api)
//! (rate, rights, local rules, memory, ledger); a signed request is answered once.
//!
//! To add a provider: nothing, its [`Dialect`](crate::providers::dialect::Dialect) is enough.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, header};
use prometheus::Registry;
use serde::Deserialize;
use tokio::sync::Semaphore;

use self::call::Call;
use self::nonces::Nonces;
use super::api::{Api, method_of};
use super::http::code::Code;
use super::http::problem::Problem;
use super::http::request_scope::{Label, Visit};
use crate::providers::addressee;

mod call;
mod caller_keys;
mod nonces;
mod words;

pub use self::words::{cause, refusal};

/// Section `[compat]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the providers' protocols are spoken at all.
    pub enabled: bool,
    /// Whether an AppCode counts in the query too.
    pub appcode_in_query: bool,
    /// So many nonces of each key are known at a time.
    pub nonces_per_key: usize,
}

/// So many come in half an hour at about one in two seconds.
const FEWEST_NONCES: usize = 1000;
/// Some fifty bytes each.
const MOST_NONCES: usize = 100_000_000;

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_sound = (FEWEST_NONCES..=MOST_NONCES).contains(&self.nonces_per_key);
        let text = "must be from 1000 to 100000000, or busy callers would be refused; write 500000";
        if is_sound { Vec::new() } else { vec![("nonces_per_key", text.to_owned())] }
    }
}

/// The edge at work.
#[derive(Debug)]
pub struct Edge {
    api: Arc<Api>,
    nonces: Nonces,
    /// Requests that may be read at once.
    bodies: Semaphore,
}

/// Why the edge cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A metric family was registered twice: a defect of ours.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Edge {
    /// The edge over `api`, which reads at most `most_at_once` requests at a time.
    ///
    /// # Errors
    /// When a metric family was registered twice.
    pub fn new(api: Arc<Api>, most_at_once: usize, registry: &Registry) -> Result<Self, EdgeError> {
        let bodies = Semaphore::new(most_at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { api, nonces: Nonces::new(registry)?, bodies })
    }

    fn overloaded() -> Box<Problem> {
        Box::new(Problem::new(Code::Overloaded).with_retry_after(super::api::handler::SOON))
    }
}

/// Everything that no route of the API serves: one of the protocols, or nothing.
pub fn router(edge: Arc<Edge>) -> Router {
    Router::new().fallback(answer).with_state(edge)
}

async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let api = &*edge.api;
    let now = api.current.load();
    let (parts, body) = request.into_parts();
    let mut head = http::Request::from_parts(parts, Bytes::new());
    let called = now.compat.enabled.then(|| addressee(&head)).flatten();
    let Some((driver, dialect)) = called.and_then(|driver| Some((driver, driver.dialect.as_ref()?))) else {
        return api.refuse(&head, Code::NotFound);
    };
    let label = Label { method: method_of(head.method()), route: dialect.path, protocol: Some(driver.name) };
    let mut visit = Visit::at(api, label, head.headers());
    let mut call = Call::to(driver.name, dialect, &head);
    let answer = async {
        edge.receive(&now, &mut head, body).await?;
        let _place = api.places.try_acquire().map_err(|_| Edge::overloaded())?;
        edge.serve(&now, &mut call, head, &mut visit.trace).await
    };
    let result = AssertUnwindSafe(answer).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(Box::new(Problem::new(Code::Internal))));
    visit.label.protocol = Some(call.protocol);
    visit.respond_as(result, |result, request_id| {
        let mut response = call.write(result, request_id);
        // Nobody between us and the caller is to keep answers about people.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}
