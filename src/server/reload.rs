//! `POST /v1/reload`: the configuration is read again now. This room only asks; `app::reload` does it.
//!
//! Invariant: a configuration with mistakes changes nothing, and the answer says all of them, each with its key.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::admin::Admin;
use super::auth::operators::Operator;
use super::http::code::Code;
use super::http::problem::{MemberError, Problem};

/// What became of a reload: the difference, or all mistakes, each with its key and what to write.
pub type Outcome = Result<Reloaded, Vec<String>>;

/// What a reload has changed, by section, such as `chain` or `providers.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Sections that were not there before.
    pub added: Vec<String>,
    /// Sections that say something else now; a secret or a certificate that was replaced counts.
    #[schema(example = json!(["providers.NAME"]))]
    pub changed: Vec<String>,
    /// Sections that are gone.
    pub removed: Vec<String>,
}

/// Asks for reloads; they are done one after the other.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::Sender<oneshot::Sender<Outcome>>);

/// Hears who asks for reloads.
pub type Asked = mpsc::Receiver<oneshot::Sender<Outcome>>;

/// Both ends of the bell.
pub fn bell() -> (Requests, Asked) {
    let (requests, asked) = mpsc::channel(16);
    (Requests(requests), asked)
}

impl Requests {
    /// Asks, and waits for the outcome; nothing if nobody reloads any more.
    pub async fn ask(&self) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        outcome.await.ok()
    }
}

/// Reads the configuration again; a mistake in it changes nothing.
#[utoipa::path(post, path = "/v1/reload", tag = "operate", responses(
    (status = 200, description = "Done; what is different now", body = Reloaded),
    (status = 422, description = "It has mistakes, nothing was changed", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "The process goes down", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reload(State(admin): State<Arc<Admin>>, Extension(operator): Extension<Arc<Operator>>) -> Response {
    tracing::info!(operator = %operator.name, "asked to reload");
    match admin.reloads.ask().await {
        Some(Ok(reloaded)) => Json(reloaded).into_response(),
        Some(Err(mistakes)) => {
            let error = |detail| MemberError { pointer: String::new(), reason: "mistake", detail };
            let errors = mistakes.into_iter().map(error).collect();
            Problem::new(Code::InvalidConfiguration).with_errors(errors).into_response()
        }
        None => Problem::new(Code::ShuttingDown).into_response(),
    }
}
