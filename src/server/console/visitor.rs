//! The operator who has signed in, and what they may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::{Extensions, StatusCode, request};

use super::frame::refused;
use crate::server::auth::operators::Operator;
use crate::server::auth::roles::Right;
use crate::server::auth::sessions::Session;

/// The operator who has signed in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) operator: Arc<Operator>,
    pub(super) session: Session,
}

impl Visitor {
    pub(super) fn may(&self, right: Right) -> bool {
        self.operator.roles.may(right)
    }

    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
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
