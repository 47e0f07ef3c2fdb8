//! Whoever has signed in, and may see this page. Others get the page to sign in, or are told which role it needs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode, request};

use super::form::refused;
use super::layout;
use super::state::Console;
use crate::server::auth::operators::Operator;
use crate::server::auth::roles::{Right, needed};
use crate::server::auth::sessions::Session;

/// Whoever has signed in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) operator: Arc<Operator>,
    pub(super) session: Session,
}

impl Visitor {
    pub(super) fn may(&self, right: Right) -> bool {
        self.operator.roles.may(right)
    }

    fn of(extensions: &http::Extensions) -> Option<Self> {
        let (session, operator) = (extensions.get::<Session>()?, extensions.get::<Arc<Operator>>()?);
        Some(Self { operator: Arc::clone(operator), session: session.clone() })
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Response> {
        Self::of(&parts.extensions).ok_or_else(|| refused(StatusCode::UNAUTHORIZED, "Sign in first."))
    }
}

/// Lets a visitor pass whose roles have the right that the page needs.
pub(super) async fn admit(State(_console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let Some(visitor) = Visitor::of(request.extensions()) else {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Redirect::to("/console/sign-in").into_response();
        }
        return refused(StatusCode::UNAUTHORIZED, "You are no longer signed in, so nothing was done.");
    };
    let right = needed(request.method(), request.uri().path());
    if !visitor.may(right) {
        let text = format!(
            "This needs the role {}. {} has: {}.",
            right.of_whom(),
            visitor.operator.name,
            visitor.operator.roles.words()
        );
        return layout::page(&visitor, StatusCode::FORBIDDEN, "Not allowed", &maud::html! { p { (text) } });
    }
    next.run(request).await
}
