//! What operators did, from the ledger.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::form::Form;
use super::layout::{self, token};
use super::search::time;
use super::shown::{moment_ms, outcome, words};
use super::state::Console;
use super::visitor::Visitor;
use crate::storage::ledger::{Cursor, Operation, WantedChanges};

/// How many are on a page.
const PAGE: usize = 100;

/// What can be looked for; the words of the ledger.
const ACTIONS: [&str; 13] = [
    "isolate",
    "restore",
    "reload",
    "log_level",
    "forget",
    "question",
    "verification",
    "verifications",
    "search",
    "export",
    "receipt",
    "sign_in",
    "sign_out",
];

/// What came of an action that was done.
const DONE: [&str; 8] =
    ["answered", "isolated", "restored", "reloaded", "changed", "forgotten", "signed_in", "signed_out"];

/// The newest ones.
pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    show(&console, &visitor, &WantedChanges::default(), None).await
}

/// Those that a form asks for. In a body like every search, for somebody may write a number into any field.
pub(super) async fn search(State(console): State<Arc<Console>>, visitor: Visitor, form: Form) -> Response {
    let text = |name| form.text(name).map(str::to_owned);
    let wanted =
        |from_ms, until_ms| WantedChanges { operator: text("operator"), action: text("action"), from_ms, until_ms };
    let cursor = form.text("cursor").and_then(|text| Cursor::from_bytes(&hex::decode(text).ok()?));
    match (time(form.text("from")), time(form.text("to"))) {
        (Ok(from), Ok(to)) => show(&console, &visitor, &wanted(from, to), cursor).await,
        (Err(why), _) | (_, Err(why)) => {
            let content = html! { p.notice.bad role="alert" { (why) } (fields(&visitor)) };
            layout::page(&visitor, StatusCode::BAD_REQUEST, "Changes", &content)
        }
    }
}

async fn show(console: &Console, visitor: &Visitor, wanted: &WantedChanges, cursor: Option<Cursor>) -> Response {
    if !console.pipeline.ledger.is_on() {
        let content =
            html! { p.notice.warn { "This gateway keeps no ledger, so nobody wrote down what operators did." } };
        return layout::page(visitor, StatusCode::OK, "Changes", &content);
    }
    match console.pipeline.ledger.changes(wanted, cursor, PAGE).await {
        Ok((found, next)) => {
            let content = html! {
                p.quiet { "Newest first. Every line is sealed in the ledger’s hash chain; of people it has only digests." }
                (fields(visitor))
                (table(&found))
                @if let Some(next) = next { (more(visitor, wanted, next)) }
            };
            layout::page(visitor, StatusCode::OK, "Changes", &content)
        }
        Err(_) => {
            let why = "The ledger cannot be read now. Try again in a moment.";
            let content = html! { p.notice.bad role="alert" { (why) } };
            layout::page(visitor, StatusCode::SERVICE_UNAVAILABLE, "Changes", &content)
        }
    }
}

fn fields(visitor: &Visitor) -> Markup {
    html! {
        form.fields method="post" action="/console/changes" aria-label="Find changes" {
            (token(visitor))
            fieldset { legend { "Which" }
                div { label for="operator" { "Operator" } input #operator name="operator" maxlength="64" autocomplete="off" spellcheck="false"; }
                div { label for="action" { "Action" } select #action name="action" { option value="" { "any" }
                    @for one in ACTIONS { option value=(one) { (words(one)) } } } }
                div { label for="from" { "From (UTC)" } input #from type="datetime-local" name="from"; }
                div { label for="to" { "To (UTC)" } input #to type="datetime-local" name="to"; }
            }
            button.main type="submit" { "Find" }
        }
    }
}

fn table(found: &[Operation]) -> Markup {
    html! {
        section aria-labelledby="found" {
            h2 #found { (found.len()) @if found.len() == 1 { " change" } @else { " changes" } }
            @if !found.is_empty() { div.scroll tabindex="0" role="group" aria-labelledby="found" { table {
                thead { tr { th scope="col" { "When" } th scope="col" { "Operator" } th scope="col" { "Action" }
                    th scope="col" { "Outcome" } th scope="col" { "About" } th scope="col" { "Reason" } } }
                tbody { @for one in found { tr {
                    td { (moment_ms(one.at_ms)) }
                    td { (one.operator) }
                    td { (words(&one.action)) }
                    td { (came_of(&one.outcome)) }
                    td { (about(one)) }
                    td { (one.reason.as_deref().unwrap_or_default()) }
                } } }
            } } }
        }
    }
}

/// A verdict or a problem in its colour; anything else is what was meant to happen.
fn came_of(word: &str) -> Markup {
    if DONE.contains(&word) {
        html! { (words(word)) }
    } else {
        outcome(word)
    }
}

fn about(one: &Operation) -> Markup {
    html! {
        @if let Some(provider) = &one.provider { (provider) }
        @if let Some(level) = &one.level { (level) }
        @if !one.sections.is_empty() { (one.sections.join(", ")) }
        @if let Some(id) = one.verification { a href=(format!("/console/answers/{id}")) { code { (id) } } }
        @if let Some(until) = one.until_ms { " until " (moment_ms(until)) }
    }
}

fn more(visitor: &Visitor, wanted: &WantedChanges, next: Cursor) -> Markup {
    let of_time =
        |ms: Option<i64>| ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|at| at.to_string());
    let fields = [
        ("operator", wanted.operator.clone()),
        ("action", wanted.action.clone()),
        ("from", of_time(wanted.from_ms)),
        ("to", of_time(wanted.until_ms)),
        ("cursor", Some(hex::encode(next.to_bytes()))),
    ];
    html! {
        form method="post" action="/console/changes" {
            (token(visitor))
            @for (name, value) in fields {
                @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
            }
            button type="submit" { "Next page" }
        }
    }
}
