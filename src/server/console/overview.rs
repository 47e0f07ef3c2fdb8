//! The first page: the last hour, the last day, and what needs attention.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};

use super::attention::{Matter, matters};
use super::chart::{Bar, bars};
use super::layout;
use super::shown::{badge, grouped, moment, percent, tile, words, yuan};
use super::state::Console;
use super::visitor::Visitor;
use crate::domain::minutes::DAY;
use crate::server::http::minutes::{Minutes, Sum};

const HOUR: i64 = 60;
/// How many minutes a bar of the day has.
const QUARTER: i64 = 15;

pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    let now = console.pipeline.current.load();
    now.runtime.refresh_metrics();
    let at = console.pipeline.clock.wall();
    let minute = at.as_second().div_euclid(60);
    let [hour, day] = [HOUR, DAY].map(|minutes| {
        let money = now.runtime.billing().in_minutes(minute, minutes);
        (console.minutes.sum(minute, minutes), money)
    });
    let content = html! {
        p.quiet { "As of " (moment(at)) ", from the counters of this process since its start."
            label.refresh hidden { input #refresh type="checkbox"; " Refresh every 10 s" } }
        (attention(&matters(&console, &now, &console.registry.gather())))
        section aria-labelledby="hour" {
            h2 #hour { "Last hour" }
            (tiles(&hour))
            (chart(&console.minutes, minute, HOUR, 1))
        }
        section aria-labelledby="day" {
            h2 #day { "Last day" }
            (tiles(&day))
            (chart(&console.minutes, minute, DAY, QUARTER))
            (verdicts(&day.0))
            (problems(&day.0))
        }
    };
    layout::page(&visitor, StatusCode::OK, "Overview", &content)
}

fn attention(matters: &[Matter]) -> Markup {
    html! {
        section aria-labelledby="attention" {
            h2 #attention { "Needs attention" }
            @if matters.is_empty() {
                p.notice.good { "Nothing does." }
            } @else {
                ul.matters {
                    @for matter in matters {
                        li { (badge(matter.tone, if matter.tone == super::shown::Tone::Bad { "now" } else { "soon" })) " "
                            a href=(matter.page) { (matter.what) } span.next { (matter.next) } }
                    }
                }
            }
        }
    }
}

fn tiles((sum, [billed, possible, saved]): &(Sum, [u64; 3])) -> Markup {
    let within = |percent| match sum.within(percent) {
        _ if sum.questions == 0 => "–".to_owned(),
        Some(ms) => format!("≤ {ms} ms"),
        None => "> 8 s".to_owned(),
    };
    let possible = if *possible > 0 { format!("and {} possibly", yuan(*possible)) } else { String::new() };
    html! {
        dl.tiles {
            (tile("Questions", &grouped(sum.questions), ""))
            (tile("Without a call", &sum.share_without_call().map_or_else(|| "–".to_owned(), percent), "of the answers"))
            (tile("Spent", &yuan(*billed), &possible))
            (tile("Saved", &yuan(*saved), ""))
            (tile("Half of them", &within(50), "p50"))
            (tile("99 of 100", &within(99), "p99"))
            (tile("Problems", &grouped(sum.failed()), ""))
        }
    }
}

/// Answers without a call, answers with one, and problems, by minute or by quarter of an hour.
fn chart(minutes: &Minutes, last: i64, span: i64, step: i64) -> Markup {
    let from = last - span + 1;
    let bar = |place: i64| {
        let end = from + place * step + step - 1;
        let sum = minutes.sum(end, step);
        let [called, shared, cached] = sum.by_source;
        let label = Timestamp::from_second((end + 1 - step) * 60).map(|at| at.strftime("%H:%M").to_string());
        Bar { label: label.unwrap_or_default(), parts: [shared + cached, called, sum.failed()] }
    };
    let all: Vec<_> = (0..span / step).map(bar).collect();
    let title = format!("Answers and problems, {}", if step == 1 { "by minute" } else { "by quarter of an hour" });
    html! {
        (bars(&title, ["cached", "called", "failed"], &all))
        ul.legend aria-label="Colours of the chart" {
            li.cached { "without a call" } li.called { "with a call" } li.failed { "problems" }
        }
    }
}

fn verdicts(sum: &Sum) -> Markup {
    html! {
        h3 #verdicts { "Verdicts by provider" }
        @if sum.providers.is_empty() { p.quiet { "None yet." } } @else {
            div.scroll tabindex="0" role="group" aria-labelledby="verdicts" { table {
                thead { tr { th scope="col" { "Provider" } th.number scope="col" { "Match" } th.number scope="col" { "Mismatch" }
                    th.number scope="col" { "No record" } th.number scope="col" { "Share of matches" } } }
                tbody { @for (name, counts) in &sum.providers {
                    tr { th scope="row" { (name) }
                        @for count in counts { td.number { (grouped(*count)) } }
                        td.number { (share(counts)) } }
                } }
            } }
        }
    }
}

fn share(counts: &[u64; 3]) -> String {
    let [matched, ..] = counts;
    let all: u64 = counts.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a share to show")]
    if all == 0 { "–".to_owned() } else { percent(*matched as f64 / all as f64) }
}

fn problems(sum: &Sum) -> Markup {
    html! {
        h3 #problems { "Problems by code" }
        @if sum.problems.is_empty() { p.quiet { "None." } } @else {
            div.scroll tabindex="0" role="group" aria-labelledby="problems" { table {
                thead { tr { th scope="col" { "Code" } th.number scope="col" { "Number" } th scope="col" { "What it means" } } }
                tbody { @for (code, count) in &sum.problems {
                    tr { th scope="row" { (words(code.as_str())) } td.number { (grouped(*count)) } td { (code.title()) } }
                } }
            } }
        }
    }
}
