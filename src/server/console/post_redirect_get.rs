//! A browser keeps the body of a form with the page that answers it, in the files from which it opens its tabs again
//! after a crash. So no page answers a form that may have a person: a redirect does, and leaves nothing.

use axum::extract::{Path, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode};

use super::frame::refused;

/// Where forms are sent that may have a person.
const OF_PERSONS: [&str; 2] = ["/console/ask", "/console/answers"];

/// Redirects to a page that says why nothing was done, instead of answering with one.
pub(super) async fn never_a_page(request: Request, next: Next) -> Response {
    let may_have_person = *request.method() == Method::POST && OF_PERSONS.contains(&request.uri().path());
    let response = next.run(request).await;
    if !may_have_person || response.status().is_redirection() {
        return response;
    }
    Redirect::to(&format!("/console/not-done/{}", response.status().as_u16())).into_response()
}

/// Why a form was refused. Says nothing of it, so everybody may read it.
pub(super) async fn not_done(Path(status): Path<u16>) -> Response {
    let status =
        StatusCode::from_u16(status).ok().filter(|status| status.is_client_error() || status.is_server_error());
    let status = status.unwrap_or(StatusCode::NOT_FOUND);
    let text = match status {
        StatusCode::UNAUTHORIZED => "You are no longer signed in, so nothing was done. Sign in and repeat it.",
        StatusCode::FORBIDDEN => {
            "The form is not from this session, or your roles do not allow it. Open the page again and repeat what you did."
        }
        StatusCode::PAYLOAD_TOO_LARGE => "The form was too large. Write less into it.",
        StatusCode::REQUEST_TIMEOUT => "The form did not arrive in time. Repeat what you did.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "What was sent is not a form. Open the page again and repeat what you did."
        }
        _ => "Something went wrong. Open the page again and repeat what you did.",
    };
    refused(status, text)
}
