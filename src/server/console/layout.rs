//! The layout of a page after sign-in, with the navigation.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::frame::{TOKEN, respond};
use super::visitor::Visitor;
use crate::server::auth::roles::Right;

const PAGES: [(&str, &str, Right); 7] = [
    ("/console/", "Overview", Right::View),
    ("/console/ask", "Ask", Right::Ask),
    ("/console/providers", "Providers", Right::View),
    ("/console/answers", "Answers", Right::LookUp),
    ("/console/money", "Money", Right::View),
    ("/console/clients", "Clients", Right::View),
    ("/console/changes", "Changes", Right::LookUp),
];

/// A page after sign-in.
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

/// The hidden field that every form of this session has.
pub(super) fn token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(visitor.session.form_token()); }
}
