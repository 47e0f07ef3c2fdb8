//! Sends requests to the routes for programs in the name of the operator, and reads the answers.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tower::ServiceExt;

use super::state::Console;
use crate::server::auth::operators::Operator;
use crate::server::http::problem::Problem;

/// More than any answer that a page shows.
const MOST: usize = 256 * 1024;

/// The answer to a request of our own: its status, what a problem says, and the body.
pub(super) struct Inner {
    pub(super) status: StatusCode,
    pub(super) problem: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Console {
    pub(super) async fn inner(
        &self,
        operator: &Arc<Operator>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Inner {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let Ok(request) = request.extension(Arc::clone(operator)).body(body) else {
            return Inner { status: StatusCode::BAD_REQUEST, problem: None, body: Vec::new() };
        };
        match self.inner.clone().oneshot(request).await {
            Ok(response) => Inner::read(response).await,
            Err(never) => match never {},
        }
    }
}

impl Inner {
    async fn read(mut response: Response<Body>) -> Self {
        let problem = response.extensions_mut().remove::<Problem>();
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        // What is no problem of ours is one of the sandbox.
        let said = || serde_json::from_slice::<Value>(&body).ok()?.get("detail")?.as_str().map(str::to_owned);
        let problem = match problem {
            Some(problem) => Some(problem.in_words()),
            None if parts.status.is_success() => None,
            None => said().or_else(|| parts.status.canonical_reason().map(str::to_owned)),
        };
        let status = problem.as_ref().map_or(parts.status, |_| parts.status);
        Self { status, problem, body }
    }

    pub(super) fn json(&self) -> Option<Value> {
        self.status.is_success().then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }
}
