//! A form that was sent: bounded, and with the token of its session. Handlers read no other body.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::frame::{TOKEN, refused};
use crate::domain::personal::Personal;
use crate::server::auth::sessions::Session;
use crate::server::http::body;

const MOST: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of a form. May hold a person, so it has no `Debug`.
pub(super) struct Form(Vec<(String, Personal)>);

impl Form {
    /// Reads a form, whose token is still to be checked.
    ///
    /// # Errors
    /// A page that says why not.
    pub(super) async fn read(request: Request) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let is_form = |value: &HeaderValue| value.as_bytes().starts_with(b"application/x-www-form-urlencoded");
        if !parts.headers.get(header::CONTENT_TYPE).is_some_and(is_form) {
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This is no form."));
        }
        let bytes = body::read(body, MOST, TIMEOUT).await.map_err(|problem| problem.into_response())?;
        let field = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), Personal::new(value.into_owned()))
        };
        Ok(Self(form_urlencoded::parse(&bytes).map(field).collect()))
    }

    /// The text of a field without the spaces around it; `None` if it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(one, _)| one == name);
        found.map(|(_, value)| value.expose().trim()).filter(|text| !text.is_empty())
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Response> {
        let session = request.extensions().get::<Session>().cloned();
        let form = Self::read(request).await?;
        let is_ours = session.is_some_and(|session| session.is_token(form.text(TOKEN).unwrap_or_default()));
        if !is_ours {
            let text = "The form is not from this session. Open the page again and repeat what you did.";
            return Err(refused(StatusCode::FORBIDDEN, text));
        }
        Ok(form)
    }
}
