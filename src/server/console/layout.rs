//! The frame of every page, and its headers.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

use super::form::TOKEN;
use super::visitor::Visitor;
use crate::server::auth::roles::Right;

/// Nothing but what is embedded here, no frame, and forms to this address only.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

const PAGES: [(&str, &str, Right); 6] = [
    ("/console/", "Overview", Right::View),
    ("/console/ask", "Ask", Right::Ask),
    ("/console/providers", "Providers", Right::View),
    ("/console/answers", "Answers", Right::LookUp),
    ("/console/money", "Money", Right::View),
    ("/console/clients", "Clients", Right::View),
];

/// A page for whoever has signed in.
pub(super) fn page(visitor: &Visitor, status: StatusCode, title: &str, content: &Markup) -> Response {
    respond(
        status,
        title,
        &html! {
            a.skip href="#main" { "Skip to the content" }
            header {
                span.brand { "idgate" }
                nav aria-label="Pages" {
                    ul {
                        @for (path, name, right) in PAGES {
                            @if visitor.may(right) {
                                li { a href=(path) aria-current=[(name == title).then_some("page")] { (name) } }
                            }
                        }
                    }
                }
                form.who method="post" action="/console/sign-out" {
                    (token(visitor))
                    span.quiet title=(visitor.operator.roles.words()) { (visitor.operator.name) }
                    button type="submit" { "Sign out" }
                }
            }
            main #main tabindex="-1" {
                h1 { (title) }
                (content)
            }
        },
    )
}

/// A page for whoever has not.
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

/// The hidden field that every form of this session has.
pub(super) fn token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(visitor.session.form_token()); }
}

fn respond(status: StatusCode, title: &str, body: &Markup) -> Response {
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
    response.headers_mut().extend(fixed.map(|(name, text)| (name, HeaderValue::from_static(text))));
    response
}
