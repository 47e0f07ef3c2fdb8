//! The frame of every page, and its headers.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

/// The name of the field with the token of a form.
pub(super) const TOKEN: &str = "token";

/// Nothing but what is embedded here, no frame, and forms to this address only.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src \
                      'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page before sign-in.
pub(super) fn bare(status: StatusCode, title: &str, content: &Markup) -> Response {
    respond(
        status,
        title,
        &html! {
            main.narrow #main {
                p.brand { "idgate" }
                h1 { (title) }
                (content)
                @if status != StatusCode::OK && title != "Sign in" {
                    p { a href="/console/" { "To the console" } }
                }
            }
        },
    )
}

/// A page that says why nothing was done.
pub(super) fn refused(status: StatusCode, text: &str) -> Response {
    bare(status, "Not done", &html! { p { (text) } })
}

pub(super) fn respond(status: StatusCode, title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – idgate" }
                link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/console.css";
                script type="module" src="/console/console.js" {}
            }
            body { (body) }
        }
    };
    let mut response = (status, page.into_string()).into_response();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    for (name, text) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(text));
    }
    response
}
