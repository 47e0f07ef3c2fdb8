//! Lets visitors pass whose roles have the right that a page needs. Others get the page to sign in, or are told which
//! role it needs.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode};

use super::frame::refused;
use super::layout;
use super::visitor::Visitor;
use crate::server::auth::roles::needed;

/// Checks every page but those to sign in.
pub(super) async fn admit(request: Request, next: Next) -> Response {
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
