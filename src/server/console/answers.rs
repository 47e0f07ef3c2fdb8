//! Finding answers, and looking at one.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, Method, StatusCode, header};
use maud::{Markup, html};
use uuid::Uuid;

use super::form::Form;
use super::kept::NO_LONGER_KEPT;
use super::layout::{self, token};
use super::shown::{Tone, badge, moment_ms, outcome, words, yuan};
use super::sought::Search;
use super::state::Console;
use super::visitor::Visitor;
use crate::domain::verdict::Verdict;
use crate::storage::ledger::{Answer, Attempt, Call, Cursor};

/// How many are on a page.
const PAGE: usize = 50;

/// The form.
pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    show(&console, &visitor, StatusCode::OK, None, &html! {})
}

/// Redirects to what a search finds. It is sent in a body, for somebody may write a number into any field, and answered
/// with a random address, because a browser keeps the bodies that pages answer.
pub(super) async fn search(State(console): State<Arc<Console>>, visitor: Visitor, form: Form) -> Response {
    let sought = Search::of(&form, &console);
    if let Ok(Search { id: Some(id), .. }) = sought {
        return Redirect::to(&format!("/console/answers/{id}")).into_response();
    }
    let id = console.sought.keep(&visitor.session, sought);
    Redirect::to(&format!("/console/answers/found/{id}")).into_response()
}

/// What a search of this session finds; a part of it, if the address names a place.
pub(super) async fn found(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    visitor: Visitor,
) -> Response {
    let sought = console.sought.find(&visitor.session, &id);
    let search = match sought.as_deref() {
        Some(Ok(search)) => search,
        Some(Err(why)) => return show(&console, &visitor, StatusCode::OK, Some(why), &html! {}),
        None => return show(&console, &visitor, StatusCode::NOT_FOUND, Some(NO_LONGER_KEPT), &html! {}),
    };
    let after = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "after")
        .and_then(|(_, place)| Cursor::from_bytes(&hex::decode(&*place).ok()?));
    let action = if search.wanted.subject.is_some() { "search" } else { "verifications" };
    let found = search.page(&console, after, PAGE).await;
    let outcome = if found.is_ok() { "answered" } else { "ledger_unavailable" };
    search.recorded(&console, &visitor.operator, action, outcome).await;
    match found {
        Ok((found, next)) => {
            let list = results(&visitor, &id, &found, next);
            show(&console, &visitor, StatusCode::OK, None, &list)
        }
        Err(_) => {
            let why = "The ledger cannot be read now. Try again in a moment.";
            show(&console, &visitor, StatusCode::SERVICE_UNAVAILABLE, Some(why), &html! {})
        }
    }
}

fn show(console: &Console, visitor: &Visitor, status: StatusCode, notice: Option<&str>, found: &Markup) -> Response {
    if !console.pipeline.ledger.is_on() {
        let content = html! { p.notice.warn { "This gateway keeps no ledger, so there are no answers to find." } };
        return layout::page(visitor, status, "Answers", &content);
    }
    let content = html! {
        @if let Some(notice) = notice { p.notice.bad role="alert" { (notice) } }
        (found)
        (form(console, visitor))
    };
    layout::page(visitor, status, "Answers", &content)
}

fn form(console: &Console, visitor: &Visitor) -> Markup {
    let now = console.pipeline.current.load();
    let providers = now.runtime.status();
    let clients = now.clients.described();
    html! {
        form.fields method="post" action="/console/answers" aria-label="Find answers" autocomplete="off" {
            (token(visitor))
            fieldset { legend { "By id" }
                div { label for="id" { "Verification id" } input #id name="id" autocomplete="off" spellcheck="false"; }
                div { label for="reference" { "The caller’s reference" } input #reference name="reference" maxlength="128" autocomplete="off" spellcheck="false"; }
            }
            fieldset { legend { "By person" }
                div { label for="name" { "Name" } input #name name="name" autocomplete="off" spellcheck="false"; }
                div { label for="id_number" { "ID number" } input #id_number name="id_number" autocomplete="off" spellcheck="false"; }
            }
            fieldset { legend { "By circumstance" }
                div { label for="from" { "From (UTC)" } input #from type="datetime-local" name="from"; }
                div { label for="to" { "To (UTC)" } input #to type="datetime-local" name="to"; }
                div { label for="client" { "Client" } select #client name="client" { option value="" { "any" }
                    @for (client, _) in &clients { option { (client.name) } } } }
                div { label for="purpose" { "Purpose" } input #purpose name="purpose" maxlength="64" autocomplete="off"; }
                div { label for="provider" { "Provider" } select #provider name="provider" { option value="" { "any" }
                    @for one in &providers { option { (one.name) } } } }
                div { label for="verdict" { "Verdict" } select #verdict name="verdict" { option value="" { "any" }
                    @for one in Verdict::ALL { option value=(one.as_str()) { (words(one.as_str())) } } } }
            }
            button.main type="submit" { "Find" }
        }
    }
}

fn results(visitor: &Visitor, id: &str, found: &[Answer], next: Option<Cursor>) -> Markup {
    html! {
        section aria-labelledby="found" {
            h2 #found { (found.len()) @if next.is_some() { " of more" } @if found.len() == 1 { " answer" } @else { " answers" } }
            @if !found.is_empty() { (table(found)) }
            div.row {
                @if let Some(next) = next {
                    a.button href=(format!("/console/answers/found/{id}?after={}", hex::encode(next.to_bytes()))) { "Next page" }
                }
                form method="post" action="/console/answers/export" data-export="answers.csv" {
                    (token(visitor))
                    input type="hidden" name="found" value=(id);
                    button type="submit" { "Export as CSV" } " " output {} }
            }
        }
    }
}

fn table(found: &[Answer]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-labelledby="found" { table {
            thead { tr { th scope="col" { "Answered" } th scope="col" { "Outcome" } th scope="col" { "Client" }
                th scope="col" { "Purpose" } th scope="col" { "Reference" } th scope="col" { "Provider" } th scope="col" { "Source" }
                th scope="col" { "Verification" } } }
            tbody { @for one in found { tr {
                td { (moment_ms(one.at_ms)) }
                td { (outcome(&one.outcome)) }
                td { (one.client) }
                td { (one.purpose) }
                td { (one.reference.as_deref().unwrap_or_default()) }
                td { (one.provider.as_deref().unwrap_or_default()) }
                td { (one.source.as_deref().unwrap_or_default()) }
                td { a href=(format!("/console/answers/{}", one.id)) { code { (one.id) } } }
            } } }
        } }
    }
}

/// One answer.
pub(super) async fn one(State(console): State<Arc<Console>>, Path(id): Path<String>, visitor: Visitor) -> Response {
    let Ok(id) = Uuid::try_parse(&id) else {
        return show(&console, &visitor, StatusCode::NOT_FOUND, Some("That is no verification id."), &html! {});
    };
    let ledger = &console.pipeline.ledger;
    let read = async {
        let Some(answer) = ledger.answer(id).await? else { return Ok(None) };
        let calls = match answer.flight {
            Some(flight) => ledger.calls(flight).await?,
            None => Vec::new(),
        };
        // An entry has its seal only once the database has it.
        let seal = ledger.seal(id).await.ok().flatten();
        Ok::<_, crate::storage::ledger::ReadError>(Some((answer, calls, seal)))
    };
    let (status, notice, found) = match read.await {
        Ok(Some(whole)) => (StatusCode::OK, None, Some(whole)),
        Ok(None) => (StatusCode::NOT_FOUND, Some("There is no answer with this id in the ledger."), None),
        Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some("The ledger cannot be read now. Try again in a moment."), None)
        }
    };
    let outcome = match status {
        StatusCode::OK => "answered",
        StatusCode::NOT_FOUND => "not_found",
        _ => "ledger_unavailable",
    };
    let looked_for = Search::for_one(id);
    looked_for.recorded(&console, &visitor.operator, "verification", outcome).await;
    match found {
        Some((answer, calls, seal)) => {
            layout::page(&visitor, status, "Answer", &whole(&answer, &calls, seal.as_deref()))
        }
        None => show(&console, &visitor, status, notice, &html! {}),
    }
}

fn whole(answer: &Answer, calls: &[Call], seal: Option<&str>) -> Markup {
    let cost = |billed: &str| {
        calls.iter().filter(|call| call.end.billed == billed).map(|call| call.end.price_micro_yuan).sum()
    };
    let facts = [
        ("Client", Some(answer.client.clone())),
        ("Key", Some(answer.key_id.clone()).filter(|id| !id.is_empty())),
        ("Purpose", Some(answer.purpose.clone())),
        ("Reference", answer.reference.clone()),
        ("Source", answer.source.clone()),
        ("Provider", answer.provider.clone()),
        ("Provider’s reference", answer.provider_request_id.clone()),
        ("Configuration", Some(answer.configuration.clone())),
        ("Flight", answer.flight.map(|flight| flight.to_string())),
        ("Person’s digest in the receipt", answer.receipt.clone()),
    ];
    html! {
        p { (outcome(&answer.outcome)) " answered " (moment_ms(answer.at_ms)) }
        dl.facts {
            dt { "Verification" } dd { code { (answer.id) } }
            @for (name, value) in facts { @if let Some(value) = value { dt { (name) } dd { (value) } } }
            @if let Some(at) = answer.verified_at_ms { dt { "Verified" } dd { (moment_ms(at)) } }
            @if !calls.is_empty() {
                dt { "Cost of its flight" } dd { (yuan(cost("yes")))
                    @if cost("unknown") > 0 { ", and possibly " (yuan(cost("unknown"))) } }
            }
        }
        @if let Some(seal) = seal { (sealed(seal)) }
        @if answer.receipt.is_some() {
            p { a.button href=(format!("/console/answers/{}/receipt", answer.id)) download { "Download the receipt" } }
        }
        (attempts(&answer.attempts))
        @if !calls.is_empty() { (calls_of(calls)) }
        p { a href="/console/answers" { "Find others" } }
    }
}

/// How to check that the entry is as it was.
fn sealed(seal: &str) -> Markup {
    html! {
        details { summary { "Seal" }
            p { "It covers this entry and all before it in its book. Keep the line; later, this says whether any of them was "
                "changed, removed or moved:" }
            pre tabindex="0" role="group" aria-label="Check the seal" { code #seal { "idgate ledger verify --expect " (seal) } }
            button type="button" data-copy="seal" hidden { "Copy" }
        }
    }
}

/// What was tried for one question.
pub(super) fn attempts(all: &[Attempt]) -> Markup {
    html! {
        h2 #attempts { "Attempts" }
        @if all.is_empty() { p.quiet { "None of its own: it was answered without a call." } } @else {
            div.scroll tabindex="0" role="group" aria-labelledby="attempts" { table {
                thead { tr { th scope="col" { "Provider" } th scope="col" { "Endpoint" } th scope="col" { "Outcome" }
                    th scope="col" { "Cause" } th scope="col" { "Billed" } th.number scope="col" { "Time" } } }
                tbody { @for one in all { tr {
                    td { (one.provider) } td { (one.endpoint) } td { (outcome(&one.outcome)) }
                    td { (one.reason.as_deref().map(words).unwrap_or_default()) } td { (one.billed) }
                    td.number { (one.duration_ms) " ms" } } } }
            } }
        }
    }
}

fn calls_of(calls: &[Call]) -> Markup {
    html! {
        h2 #calls { "Calls of its flight" }
        div.scroll tabindex="0" role="group" aria-labelledby="calls" { table {
            thead { tr { th scope="col" { "Ended" } th scope="col" { "Provider" } th scope="col" { "Outcome" }
                th scope="col" { "Billed" } th.number scope="col" { "Price" } th.number scope="col" { "Time" }
                th scope="col" { "Provider’s reference" } } }
            tbody { @for one in calls { tr {
                td { (moment_ms(one.at_ms)) } td { (one.provider) }
                td { (outcome(&one.end.outcome)) @if one.end.late { " " (badge(Tone::Warn, "late")) } }
                td { (one.end.billed) } td.number { (yuan(one.end.price_micro_yuan)) } td.number { (one.end.duration_ms) " ms" }
                td { (one.end.provider_request_id.as_deref().unwrap_or_default()) } } } }
        } }
    }
}

/// The receipt of an answer, to keep.
pub(super) async fn receipt(State(console): State<Arc<Console>>, Path(id): Path<String>, visitor: Visitor) -> Response {
    let Ok(id) = Uuid::try_parse(&id) else {
        return show(&console, &visitor, StatusCode::NOT_FOUND, Some("That is no verification id."), &html! {});
    };
    let found = console.inner(&visitor.operator, Method::GET, &format!("/v1/verifications/{id}/receipt"), None).await;
    if let Some(problem) = &found.problem {
        return show(&console, &visitor, found.status, Some(problem), &html! {});
    }
    let mut response = found.body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jose"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.jose\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}
