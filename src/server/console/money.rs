//! What was spent this day and this month, budgets and packages; or what one period has cost, if the address names one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use prometheus::proto::MetricFamily;

use super::attention::{Series, series};
use super::period::Period;
use super::shown::{Tone, badge, grouped, moment_ms, percent, tile, words, yuan};
use super::state::Console;
use super::visitor::Visitor;
use super::{layout, money_history, money_period, reconciliation};
use crate::domain::clock::start_in_china;
use crate::server::auth::roles::Right;
use crate::storage::ledger::Spent;

pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor, RawQuery(query): RawQuery) -> Response {
    match Period::of(query.as_deref()) {
        Ok(None) => overview(&console, &visitor).await,
        Ok(Some(period)) => money_period::page(&console, &visitor, &period).await,
        Err(why) => money_period::not_shown(&visitor, StatusCode::BAD_REQUEST, why),
    }
}

async fn overview(console: &Console, visitor: &Visitor) -> Response {
    let pipeline = &console.pipeline;
    let now = pipeline.current.load();
    now.runtime.refresh_metrics();
    let families = console.registry.gather();
    let today = pipeline.clock.believed_date_in_china();
    let starts = [today.first_of_month(), today].map(start_in_china);
    let spent = match starts {
        [Some(month), Some(day)] => {
            pipeline.ledger.spent(month.as_millisecond(), day.as_millisecond()).await.map_err(|_| ())
        }
        _ => Err(()),
    };
    let content = html! {
        p.quiet { "Days and months are those of China. A call of which nobody knows whether it is billed counts with what it "
            "costs at most." }
        @match &spent {
            Err(()) => p.notice.bad role="alert" { "The ledger cannot be read now. Try again in a moment." },
            Ok(_) if !pipeline.ledger.is_on() => p.notice.warn { "This gateway keeps no ledger, so what was spent before its start is not known." },
            Ok(spent) => (spending(spent)),
        }
        (money_history::of(console, today).await)
        (since_start(&families))
        (budgets(&families))
        (packages(&families))
        @if visitor.may(Right::LookUp) && pipeline.ledger.is_on() { (reconciliation::form(console, visitor)) }
    };
    layout::page(visitor, StatusCode::OK, "Money", &content)
}

fn calls(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "call" } else { "calls" })
}

fn spending(spent: &[Spent]) -> Markup {
    let sum = |of: fn(&Spent) -> u64| spent.iter().map(of).sum::<u64>();
    html! {
        dl.tiles {
            (tile("Today", &yuan(sum(|one| one.micro_yuan_today)), &calls(sum(|one| one.calls_today))))
            (tile("This month", &yuan(sum(|one| one.micro_yuan)), &calls(sum(|one| one.calls))))
        }
        section aria-labelledby="spent" {
            h2 #spent { "Spent, by provider and client" }
            @if spent.is_empty() { p.quiet { "Nothing this month." } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="spent" { table {
                    thead { tr { th scope="col" { "Provider" } th scope="col" { "Client" } th.number scope="col" { "Calls today" }
                        th.number scope="col" { "Today" } th.number scope="col" { "Calls this month" } th.number scope="col" { "This month" } } }
                    tbody { @for one in spent { tr {
                        th scope="row" { (one.provider) } td { (one.client) }
                        td.number { (grouped(one.calls_today)) } td.number { (yuan(one.micro_yuan_today)) }
                        td.number { (grouped(one.calls)) } td.number { (yuan(one.micro_yuan)) } } } }
                } }
            }
        }
    }
}

/// Sums of this process, which know purposes and what was saved.
fn since_start(families: &[MetricFamily]) -> Markup {
    let mut by_purpose = BTreeMap::<String, [f64; 2]>::new();
    for (place, name) in ["idgate_cost_yuan_total", "idgate_possible_cost_yuan_total"].into_iter().enumerate() {
        for one in series(families, name) {
            let sums = by_purpose.entry(one.label("purpose").to_owned()).or_default();
            sums.iter_mut().skip(place).take(1).for_each(|sum| *sum += one.value);
        }
    }
    let saved: Vec<_> = series(families, "idgate_saved_yuan_total").collect();
    html! {
        section aria-labelledby="purposes" {
            h2 #purposes { "Since the start of this process" }
            div.scroll tabindex="0" role="group" aria-labelledby="purposes" { table {
                caption { "By purpose" }
                thead { tr { th scope="col" { "Purpose" } th.number scope="col" { "Spent" } th.number scope="col" { "Possibly" } } }
                tbody { @for (purpose, [spent, possibly]) in &by_purpose { tr {
                    th scope="row" { (purpose) } td.number { (of_yuan(*spent)) } td.number { (of_yuan(*possibly)) } } } }
            } }
            div.scroll tabindex="0" role="group" aria-label="Saved since the start" { table {
                caption { "Saved, because no call of its own was needed" }
                thead { tr { th scope="col" { "By" } th.number scope="col" { "Saved" } } }
                tbody { @for one in &saved { tr {
                    th scope="row" { (words(one.label("reason"))) } td.number { (of_yuan(one.value)) } } } }
            } }
        }
    }
}

fn of_yuan(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum to show, never negative")]
    yuan((value * 1e6).round() as u64)
}

fn budgets(families: &[MetricFamily]) -> Markup {
    let all: Vec<_> = series(families, "idgate_budget_used_ratio").collect();
    let tone = |used: f64| match used {
        ..0.8 => Tone::Good,
        0.8..1.0 => Tone::Warn,
        _ => Tone::Bad,
    };
    html! {
        section aria-labelledby="budgets" {
            h2 #budgets { "Budgets" }
            @if all.is_empty() { p.quiet { "None is configured." } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="budgets" { table {
                    thead { tr { th scope="col" { "Of" } th scope="col" { "Name" } th scope="col" { "In a" } th scope="col" { "Unit" }
                        th.number scope="col" { "Used" } } }
                    tbody { @for one in &all { tr {
                        td { (one.label("owner")) } th scope="row" { (one.label("name")) } td { (one.label("period")) }
                        td { (one.label("unit")) } td.number { (badge(tone(one.value), &percent(one.value))) } } } }
                } }
            }
        }
    }
}

fn packages(families: &[MetricFamily]) -> Markup {
    let of = |name, package: &Series| {
        let is_same =
            |one: &Series| ["provider", "package"].iter().all(|label| one.label(label) == package.label(label));
        series(families, name).find(is_same).map(|one| one.value)
    };
    let all: Vec<_> = series(families, "idgate_package_remaining_ratio").collect();
    #[expect(clippy::cast_possible_truncation, reason = "seconds")]
    let ends = |package: &Series| of("idgate_package_end_timestamp_seconds", package).map(|end| end as i64 * 1000);
    html! {
        section aria-labelledby="packages" {
            h2 #packages { "Packages" }
            @if all.is_empty() { p.quiet { "None is configured." } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="packages" { table {
                    thead { tr { th scope="col" { "Provider" } th scope="col" { "Package" } th.number scope="col" { "Calls left" }
                        th.number scope="col" { "Left" } th scope="col" { "Ends" } th.number scope="col" { "Lasts for" } } }
                    tbody { @for one in &all { tr {
                        th scope="row" { (one.label("provider")) } td { (one.label("package")) }
                        td.number { (of("idgate_package_remaining_calls", one).map(|calls| format!("{calls:.0}")).unwrap_or_default()) }
                        td.number { (percent(one.value)) }
                        td { @if let Some(end) = ends(one) { (moment_ms(end)) } }
                        td.number { (of("idgate_package_days_left", one).map(|days| format!("{days:.1} days")).unwrap_or_default()) } } } }
                } }
            }
        }
    }
}
