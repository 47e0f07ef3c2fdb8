//! Compares a provider's usage export, which an operator uploads, with the ledger.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use maud::{Markup, html};
use tokio::time::timeout;

use super::export::harmless;
use super::frame::{TOKEN, refused};
use super::layout::{self, token};
use super::reconciled::{Difference, Reconciled};
use super::shown::{Tone, badge, grouped, words, yuan};
use super::state::Console;
use super::visitor::Visitor;
use crate::server::audit::note;
use crate::storage::ledger::Operation;

/// In bytes: about 200,000 calls. `idgate reconcile` takes more.
const MOST: usize = 16 * 1024 * 1024;

/// The same with what is around the file.
pub(super) const MOST_FORM: usize = MOST + 64 * 1024;

/// For the upload, and for the comparison.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many differences the page shows; the file has all.
const SHOWN: usize = 100;

/// What an operator has sent.
struct Upload {
    provider: String,
    is_for_file: bool,
    export: Bytes,
}

/// The form, for whoever may compare.
pub(super) fn form(console: &Console, visitor: &Visitor) -> Markup {
    let providers = console.pipeline.current.load().runtime.status();
    html! {
        section aria-labelledby="reconcile" {
            h2 #reconcile { "Compare with a provider’s bill" }
            p.quiet { "The provider’s usage export: CSV in UTF-8 with a header line and one row per call, at most 16 MiB. Times "
                "without an offset are those of China. " code { "idgate reconcile" } " takes longer ones, and other headers." }
            form.fields method="post" action="/console/money/reconcile" enctype="multipart/form-data" aria-labelledby="reconcile" {
                (token(visitor))
                div { label for="provider" { "Provider" } select #provider name="provider" {
                    @for one in &providers { option { (one.name) } } } }
                div { label for="export" { "Usage export" } input #export type="file" name="export" accept=".csv,text/csv" required; }
                button.main type="submit" name="as" value="page" { "Compare" }
                button type="submit" name="as" value="csv" { "Compare and download all differences" }
            }
        }
    }
}

/// Compares what was uploaded, and shows what differs.
pub(super) async fn reconcile(State(console): State<Arc<Console>>, visitor: Visitor, request: Request) -> Response {
    let Some(comparer) = console.reconcile.clone().filter(|_| console.pipeline.ledger.is_on()) else {
        return refused(StatusCode::CONFLICT, "This gateway keeps no ledger, so there is nothing to compare with.");
    };
    let Ok(place) = Arc::clone(&console.reconciliations).try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "Others are comparing. Try again in a moment.");
    };
    let upload = match timeout(PATIENCE, Upload::read(request, &visitor)).await {
        Ok(Ok(upload)) => upload,
        Ok(Err(refusal)) => return refusal,
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "The file took too long to arrive. Send it again."),
    };
    // It is written into the ledger, so it must not be whatever somebody has typed.
    if console.pipeline.current.load().runtime.status().iter().all(|one| *one.name != *upload.provider) {
        return refused(
            StatusCode::BAD_REQUEST,
            "Choose a provider of the list; idgate reconcile compares former ones too.",
        );
    }
    if console.pipeline.ledger.settled().await.is_err() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "The ledger cannot be read now. Try again in a moment.");
    }
    let compared = timeout(PATIENCE, comparer.reconcile(upload.provider.clone(), upload.export, place)).await;
    let compared = compared.unwrap_or_else(|_| Err("This takes too long for a page; use idgate reconcile.".to_owned()));
    let outcome = if compared.is_ok() { "compared" } else { "not_compared" };
    let about = Operation { provider: Some(upload.provider.clone()), ..Operation::default() };
    note(&console.pipeline.ledger, &visitor.operator, "reconcile", outcome, about).await;
    match compared {
        Err(why) => {
            let content = html! {
                p.notice.bad role="alert" { (why) }
                p { a href="/console/money#reconcile" { "Choose another file" } }
            };
            layout::page(&visitor, StatusCode::UNPROCESSABLE_ENTITY, "Not compared", &content)
        }
        Ok(found) if upload.is_for_file => file(&found),
        Ok(found) => layout::page(&visitor, StatusCode::OK, "Reconciliation", &page(&upload.provider, &found)),
    }
}

impl Upload {
    /// Reads the form. Its token must come before its file, which is not read without it.
    async fn read(request: Request, visitor: &Visitor) -> Result<Self, Response> {
        let unreadable = |_| {
            refused(
                StatusCode::BAD_REQUEST,
                "The upload broke off, or the file has more than 16 MiB. Send it again, or export a shorter time.",
            )
        };
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|_| refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This is no form with a file."))?;
        let (mut is_ours, mut provider, mut is_for_file, mut export) = (false, None, false, None);
        while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
            let name = field.name().unwrap_or_default().to_owned();
            let most = if name == "export" { MOST } else { 256 };
            let mut value = BytesMut::new();
            while let Some(part) = field.chunk().await.map_err(unreadable)? {
                if !is_ours && name != TOKEN {
                    return Err(stranger());
                }
                if value.len() + part.len() > most {
                    return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "A field is too long; a file may have 16 MiB."));
                }
                value.extend_from_slice(&part);
            }
            let text = || String::from_utf8_lossy(&value).trim().to_owned();
            match &*name {
                TOKEN => is_ours = visitor.session.is_token(&text()),
                "provider" => provider = Some(text()),
                "as" => is_for_file = value == "csv",
                "export" => export = Some(value.freeze()),
                _ => {}
            }
        }
        if !is_ours {
            return Err(stranger());
        }
        match (provider, export.filter(|export| !export.is_empty())) {
            (Some(provider), Some(export)) => Ok(Self { provider, is_for_file, export }),
            _ => Err(refused(StatusCode::BAD_REQUEST, "Choose a provider and a file.")),
        }
    }
}

fn stranger() -> Response {
    refused(StatusCode::FORBIDDEN, "The form is not from this session. Open the page again and repeat what you did.")
}

fn signed(micro: i64) -> String {
    format!("{}{}", if micro < 0 { "−" } else { "" }, yuan(micro.unsigned_abs()))
}

fn page(provider: &str, found: &Reconciled) -> Markup {
    let (from, to) = &found.period;
    html! {
        p { "Calls to " strong { (provider) } " from " (from) " to " (to) ": "
            @if found.balances { (badge(Tone::Good, "it balances")) } @else { (badge(Tone::Bad, "it does not balance")) } }
        @if found.has_no_prices {
            p.quiet { "All amounts in the export are zero, as with prepaid packages, so amounts were not compared." }
        }
        div.scroll tabindex="0" role="group" aria-label="Sums" { table {
            thead { tr { th scope="col" { "What" } th.number scope="col" { "Calls" } th.number scope="col" { "Amount" } } }
            tbody { @for (what, count, micro) in &found.sums { tr {
                th scope="row" { (what) } td.number { (grouped(*count)) } td.number { (signed(*micro)) } } } }
        } }
        @if !found.differences.is_empty() { (differences(&found.differences)) }
        p { a href="/console/money#reconcile" { "Compare another" } }
    }
}

fn differences(all: &[Difference]) -> Markup {
    let amount = |micro: Option<i64>| micro.map(signed).unwrap_or_default();
    html! {
        section aria-labelledby="differences" {
            h2 #differences { "Differences" }
            @if all.len() > SHOWN { p.quiet { "The first " (SHOWN) " of " (grouped(all.len() as u64)) "; the file has all." } }
            div.scroll tabindex="0" role="group" aria-labelledby="differences" { table {
                thead { tr { th scope="col" { "Class" } th scope="col" { "Reason" } th.number scope="col" { "Line" }
                    th scope="col" { "Time" } th scope="col" { "Call" } th scope="col" { "Provider’s reference" }
                    th.number scope="col" { "There" } th.number scope="col" { "Here" } } }
                tbody { @for one in all.iter().take(SHOWN) { tr {
                    td { (words(one.class)) } td { (words(&one.reason)) }
                    td.number { @if let Some(line) = one.line { (line) } } td { (one.at) }
                    td { code { (one.call.as_deref().unwrap_or_default()) } }
                    td { (one.provider_request_id.as_deref().unwrap_or_default()) }
                    td.number { (amount(one.there)) } td.number { (amount(one.here)) } } } }
            } }
        }
    }
}

/// All differences as CSV.
fn file(found: &Reconciled) -> Response {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let head = ["class", "reason", "line", "at", "call", "provider_request_id", "micro_yuan_there", "micro_yuan_here"];
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let written = csv.write_record(head).and_then(|()| {
        found.differences.iter().try_for_each(|one| {
            let line = one.line.map(|line| line.to_string()).unwrap_or_default();
            let text = |text: &Option<String>| harmless(text.clone().unwrap_or_default());
            csv.write_record([
                one.class.to_owned(),
                one.reason.clone(),
                line,
                one.at.clone(),
                text(&one.call),
                text(&one.provider_request_id),
                number(one.there),
                number(one.here),
            ])
        })
    });
    match written.ok().and_then(|()| csv.into_inner().ok()) {
        Some(text) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"differences.csv\""),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
        None => refused(StatusCode::INTERNAL_SERVER_ERROR, "The file could not be written."),
    }
}
