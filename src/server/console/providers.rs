//! The providers: breakers, faults, credentials, holds; isolating and restoring.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::attention::account_fault;
use super::form::Form;
use super::layout::{self, token};
use super::shown::{Tone, badge, lasting, moment, words};
use super::state::Console;
use super::visitor::Visitor;
use crate::server::auth::roles::Right;
use crate::verify::{CredentialStatus, EndpointStatus, ProviderStatus, Unavailable};

pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    show(&console, &visitor, StatusCode::OK, None)
}

/// Isolates a provider, as `POST /v1/providers/{provider}/isolate` does.
pub(super) async fn isolate(
    State(console): State<Arc<Console>>,
    Path(provider): Path<String>,
    visitor: Visitor,
    form: Form,
) -> Response {
    change(&console, &visitor, &provider, "isolate", &form).await
}

/// Restores a provider, as `POST /v1/providers/{provider}/restore` does.
pub(super) async fn restore(
    State(console): State<Arc<Console>>,
    Path(provider): Path<String>,
    visitor: Visitor,
    form: Form,
) -> Response {
    change(&console, &visitor, &provider, "restore", &form).await
}

async fn change(console: &Console, visitor: &Visitor, provider: &str, action: &str, form: &Form) -> Response {
    let known = console.pipeline.current.load().runtime.status();
    if !known.iter().any(|status| *status.name == *provider) {
        return show(console, visitor, StatusCode::NOT_FOUND, Some("There is no such provider any more."));
    }
    let mut said = Map::new();
    for member in ["reason", "until"] {
        if let Some(text) = form.text(member) {
            said.insert(member.to_owned(), Value::from(text));
        }
    }
    let path = format!("/v1/providers/{provider}/{action}");
    let done = console.inner(&visitor.operator, Method::POST, &path, Some(Value::Object(said))).await;
    match done.problem {
        None => Redirect::to("/console/providers").into_response(),
        Some(problem) => show(console, visitor, done.status, Some(&problem)),
    }
}

fn show(console: &Console, visitor: &Visitor, status: StatusCode, notice: Option<&str>) -> Response {
    let now = console.pipeline.current.load();
    let all = now.runtime.status();
    let may = visitor.may(Right::Operate);
    let content = html! {
        @if let Some(notice) = notice { p.notice.bad role="alert" { (notice) } }
        @if all.is_empty() { p { "No provider is configured." } }
        @for one in &all { (provider(one, visitor, may)) }
    };
    layout::page(visitor, status, "Providers", &content)
}

fn provider(status: &ProviderStatus, visitor: &Visitor, may: bool) -> Markup {
    let name = &*status.name;
    let heading = format!("provider-{name}");
    html! {
        section.card aria-labelledby=(heading) {
            h2 id=(heading) { (name) " " (state(status)) }
            p.quiet { "Driver " (status.driver) " · calls in flight: " (status.in_flight) " · persons on hold: " (status.holds)
                @if let Some(pause) = status.paused_for { " · asked us to pause, for " (lasting(pause)) } }
            @if let Some(isolated) = &status.isolated {
                p.notice.warn { "Isolated by " strong { (isolated.by) } " at " (moment(isolated.since))
                    @if let Some(until) = isolated.until { ", until " (moment(until)) }
                    @if let Some(reason) = &isolated.reason { ": " (reason) } }
            }
            @if let Some(fault) = status.account_fault {
                p.notice.bad { "Account fault: " strong { (words(fault.reason.as_str())) } " for " (lasting(fault.since))
                    ", tried again in " (lasting(fault.retry_after)) ". " (account_fault(fault.reason)) }
            }
            @if let Some(one) = &status.credential { (credential(one)) }
            (endpoints(&heading, &status.endpoints))
            @if may { (actions(status, visitor)) }
        }
    }
}

fn state(status: &ProviderStatus) -> Markup {
    match status.unavailable {
        None => badge(Tone::Good, "available"),
        Some(why @ Unavailable::Isolated) => badge(Tone::Warn, why.as_str()),
        Some(why) => badge(Tone::Bad, &words(why.as_str())),
    }
}

fn credential(status: &CredentialStatus) -> Markup {
    html! {
        p { "Credential from " (words(status.from.unwrap_or(status.source)))
            @if let Some(left) = status.expires_in { ", good for " (lasting(left)) }
            "." }
        @if !status.misses.is_empty() {
            ul { @for miss in &status.misses {
                li { (words(miss.source)) ": " (words(miss.reason.as_str())) @if let Some(code) = miss.code { " (" (code) ")" } }
            } }
        }
    }
}

fn endpoints(heading: &str, all: &[EndpointStatus]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-labelledby=(heading) { table {
            thead { tr { th scope="col" { "Endpoint" } th scope="col" { "Breaker" } th scope="col" { "For" } th scope="col" { "Why" }
                th scope="col" { "Next probe" } th scope="col" { "Last fault" } } }
            tbody { @for one in all {
                tr { th scope="row" { (one.endpoint) }
                    td { (breaker(one.state.as_str())) }
                    td.short { (lasting(one.since)) }
                    td { (one.reason.map(|reason| words(reason.as_str())).unwrap_or_default()) }
                    td { @if let Some(left) = one.retry_after { "in " (lasting(left)) } }
                    td { @if let Some(fault) = one.last_fault {
                        (words(fault.outcome.as_str()))
                        @if fault.reason.is_specific() { " (" (words(fault.reason.as_str())) ")" }
                        ", " (lasting(fault.since)) " ago" } }
                }
            } }
        } }
    }
}

fn breaker(word: &str) -> Markup {
    let tone = match word {
        "closed" => Tone::Good,
        "half_open" => Tone::Warn,
        _ => Tone::Bad,
    };
    badge(tone, &words(word))
}

fn actions(status: &ProviderStatus, visitor: &Visitor) -> Markup {
    let name = &*status.name;
    let id = |field: &str| format!("{field}-{name}");
    html! {
        details open[status.isolated.is_some()] {
            summary { "Isolate or restore" }
            @if status.isolated.is_none() {
                form.row method="post" action=(format!("/console/providers/{name}/isolate")) {
                    (token(visitor))
                    div { label for=(id("why")) { "Reason" }
                        input id=(id("why")) name="reason" maxlength="200" required autocomplete="off"; }
                    div { label for=(id("until")) { "Until (empty: until restored)" }
                        input id=(id("until")) name="until" maxlength="40" placeholder="2h" autocomplete="off"; }
                    button.danger type="submit" data-confirm=(format!("Isolate {name}? It is not asked any more.")) {
                        "Isolate " (name) }
                }
            }
            form.row method="post" action=(format!("/console/providers/{name}/restore")) {
                (token(visitor))
                div { label for=(id("because")) { "Reason" }
                    input id=(id("because")) name="reason" maxlength="200" autocomplete="off"; }
                button type="submit" { "Restore " (name) }
            }
            p.quiet { "Restoring also closes open breakers and ends the wait of an account fault." }
        }
    }
}
