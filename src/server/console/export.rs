//! Exports what a search finds as CSV: read page by page while it is sent, so that it takes little memory, and bounded.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use super::form::Form;
use super::frame::refused;
use super::kept::NO_LONGER_KEPT;
use super::sought::Search;
use super::state::Console;
use super::visitor::Visitor;
use crate::storage::ledger::{Answer, Cursor};
use jiff::Timestamp;

/// How many answers are read at a time, and at most.
const PART: usize = 500;
const MOST: usize = 100_000;
const HEAD: [&str; 10] = [
    "verification_id",
    "answered_at",
    "client",
    "purpose",
    "reference",
    "outcome",
    "source",
    "provider",
    "provider_request_id",
    "verified_at",
];

struct Reading {
    console: Arc<Console>,
    search: Search,
    /// Where the next part begins; `None` after the last.
    next: Option<Option<Cursor>>,
    rows: usize,
    has_begun: bool,
    _place: OwnedSemaphorePermit,
}

/// Sends the file.
pub(super) async fn export(State(console): State<Arc<Console>>, visitor: Visitor, form: Form) -> Response {
    let sought = console.sought.find(&visitor.session, form.text("found").unwrap_or_default());
    let Some(Ok(search)) = sought.as_deref() else {
        return refused(StatusCode::NOT_FOUND, NO_LONGER_KEPT);
    };
    let Ok(place) = Arc::clone(&console.exports).try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "Others are exporting. Try again in a moment.");
    };
    search.recorded(&console, &visitor.operator, "export", "answered").await;
    let reading =
        Reading { console, search: search.clone(), next: Some(None), rows: 0, has_begun: false, _place: place };
    let body = Body::from_stream(stream::unfold(reading, |reading| async {
        let (text, reading) = reading.part().await?;
        Some((Ok::<_, Infallible>(text), reading))
    }));
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"answers.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

impl Reading {
    async fn part(mut self) -> Option<(Vec<u8>, Self)> {
        let place = self.next.take()?;
        let mut csv = csv::Writer::from_writer(Vec::new());
        if !std::mem::replace(&mut self.has_begun, true) {
            csv.write_record(HEAD).ok()?;
        }
        match self.search.page(&self.console, place, PART).await {
            Ok((found, next)) => {
                for answer in &found {
                    csv.write_record(row(answer)).ok()?;
                }
                self.rows += found.len();
                self.next = next.map(Some);
                if self.rows >= MOST && self.next.take().is_some() {
                    csv.write_record(cut(&format!("cut off after {MOST} rows; narrow the times"))).ok()?;
                }
            }
            Err(_) => csv.write_record(cut("cut off: the ledger cannot be read now")).ok()?,
        }
        Some((csv.into_inner().ok()?, self))
    }
}

/// A last row that is no answer, in words, so that nobody takes a part for the whole.
fn cut(why: &str) -> [String; HEAD.len()] {
    std::array::from_fn(|place| if place == 0 { why.to_owned() } else { String::new() })
}

fn row(answer: &Answer) -> [String; HEAD.len()] {
    let at = |ms: i64| Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let row = [
        answer.id.to_string(),
        at(answer.at_ms),
        answer.client.clone(),
        answer.purpose.clone(),
        text(&answer.reference),
        answer.outcome.clone(),
        text(&answer.source),
        text(&answer.provider),
        text(&answer.provider_request_id),
        answer.verified_at_ms.map(at).unwrap_or_default(),
    ];
    row.map(harmless)
}

/// A spreadsheet takes what begins like this for a formula.
pub(super) fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}
