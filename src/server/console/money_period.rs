//! What a day or a month has cost, by provider, client and purpose, and what was saved. Read from the entries of the
//! ledger when somebody asks, so with a bound on the time and on how many may ask at once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use maud::{Markup, html};
use tokio::time::timeout;

use super::export::harmless;
use super::frame::refused;
use super::layout;
use super::period::Period;
use super::shown::{grouped, tile, yuan};
use super::state::Console;
use super::visitor::Visitor;
use crate::domain::clock::date_in_china;
use crate::domain::verdict::Verdict;
use crate::storage::ledger::{CostLine, ReadError};

/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// More lines would make the page too large; the file has all.
const SHOWN: usize = 100;
const SHOWN_SUMS: usize = 25;

const HEAD: [&str; 9] = [
    "provider",
    "client",
    "purpose",
    "calls",
    "micro_yuan_spent",
    "micro_yuan_possibly_spent",
    "answers_without_call",
    "micro_yuan_saved",
    "answers_without_price",
];

/// Amounts in millionths of a yuan.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    calls: u64,
    spent: u64,
    possible: u64,
    answers: u64,
    saved: u64,
    /// Those answers whose provider is no longer configured.
    unpriced: u64,
}

/// Provider, client and purpose.
type Line = ([String; 3], Sums);

/// Shows the period, or sends it as a file.
pub(super) async fn page(console: &Console, visitor: &Visitor, period: &Period) -> Response {
    let refuse = |why: &str| not_shown(visitor, StatusCode::SERVICE_UNAVAILABLE, why);
    let ledger = &console.pipeline.ledger;
    if !ledger.is_on() {
        return not_shown(visitor, StatusCode::OK, "This gateway keeps no ledger, so what it has spent is not known.");
    }
    let Ok(_place) = console.breakdowns.try_acquire() else {
        return refuse("Others are reading a day or a month. Try again in a moment.");
    };
    let reading = async {
        let lines = ledger.breakdown(period.from.as_millisecond(), period.until.as_millisecond()).await?;
        Ok::<_, ReadError>((lines, ledger.behind().await?))
    };
    match timeout(PATIENCE, reading).await {
        Err(_) => refuse(&too_long(period)),
        Ok(Err(_)) => refuse("The ledger cannot be read now. Try again in a moment."),
        Ok(Ok((found, behind))) => {
            let lines = priced(console, found);
            if period.is_for_file { file(period, &lines) } else { shown(visitor, period, &lines, behind.len()) }
        }
    }
}

/// Says why nothing is shown.
pub(super) fn not_shown(visitor: &Visitor, status: StatusCode, why: &str) -> Response {
    let content = html! {
        p.notice.bad role="alert" { (why) }
        p { a href="/console/money" { "All days and months" } }
    };
    layout::page(visitor, status, "Money", &content)
}

fn too_long(period: &Period) -> String {
    let shorter = if period.kind == "month" { "choose a day, or " } else { "" };
    // As the command takes it, and as people here read it.
    let [from, until] = [period.from, period.until].map(|at| format!("{}T00:00:00+08:00", date_in_china(at)));
    format!(
        "This {} has more entries than can be read in {} seconds; {shorter}use idgate ledger export --from {from} --to \
         {until} --format csv and a spreadsheet.",
        period.kind,
        PATIENCE.as_secs()
    )
}

/// Adds what was saved, at the prices that are configured now, as the metric of what was saved has it; the dearest line
/// first.
fn priced(console: &Console, found: Vec<CostLine>) -> Vec<Line> {
    let providers = console.pipeline.current.load().runtime.status();
    let price = |provider: &str, verdict: &str| {
        let verdict = Verdict::ALL.into_iter().find(|one| one.as_str() == verdict)?;
        Some(providers.iter().find(|one| *one.name == *provider)?.prices.of(verdict).0)
    };
    let line = |line: CostLine| {
        let mut sums =
            Sums { calls: line.calls, spent: line.micro_yuan, possible: line.possible_micro_yuan, ..Sums::default() };
        for (verdict, answers) in &line.saved_calls {
            sums.answers += answers;
            match price(&line.provider, verdict) {
                Some(price) => sums.saved = sums.saved.saturating_add(price.saturating_mul(*answers)),
                None => sums.unpriced += answers,
            }
        }
        ([line.provider, line.client, line.purpose], sums)
    };
    let mut lines: Vec<Line> = found.into_iter().map(line).collect();
    lines.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.weight()));
    lines
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.spent = self.spent.saturating_add(other.spent);
        self.possible = self.possible.saturating_add(other.possible);
        self.answers += other.answers;
        self.saved = self.saved.saturating_add(other.saved);
        self.unpriced += other.unpriced;
    }

    /// What comes first.
    const fn weight(&self) -> [u64; 3] {
        [self.spent.saturating_add(self.possible), self.saved, self.answers]
    }

    fn all<'a>(lines: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        lines.for_each(|one| all.add(one));
        all
    }
}

/// The sums by one of the three names.
fn by(lines: &[Line], place: usize) -> Vec<([&str; 1], Sums)> {
    let mut sums = BTreeMap::<&str, Sums>::new();
    for (names, of) in lines {
        sums.entry(names.get(place).map(String::as_str).unwrap_or_default()).or_default().add(of);
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, sums)| ([name], sums)).collect();
    sums.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.weight()));
    sums
}

fn shown(visitor: &Visitor, period: &Period, lines: &[Line], behind: usize) -> Response {
    let all = Sums::all(lines.iter().map(|(_, sums)| sums));
    let count =
        |count: u64, one: &str, many: &str| format!("{} {}", grouped(count), if count == 1 { one } else { many });
    let names: Vec<([&str; 3], Sums)> =
        lines.iter().map(|([provider, client, purpose], sums)| ([&**provider, &**client, &**purpose], *sums)).collect();
    let content = html! {
        p { strong { (period.name) } ", a " (period.kind) " in China. " a href="/console/money" { "All days and months" } " · "
            a href=(period.file_address()) { "As CSV" } }
        @if behind > 0 {
            p.notice.warn { "The latest entries of " (count(behind as u64, "replica", "replicas")) " may be missing; look again in a moment." }
        }
        dl.tiles {
            (tile("Spent", &yuan(all.spent), &count(all.calls, "call", "calls")))
            (tile("Possibly spent", &yuan(all.possible), "at most"))
            (tile("Saved", &yuan(all.saved), &count(all.answers, "answer without a call", "answers without a call")))
        }
        p.quiet { "Calls are those that brought a verdict or may be billed. Possibly spent is what those cost at most of which "
            "nobody knows whether they are billed. Saved are answers from the cache, or from a call that another question had "
            "made, at what that verdict costs at the provider by the present configuration. What is answered again under its "
            "idempotency key is one answer." }
        @if all.unpriced > 0 {
            p.notice.warn { "Of " (count(all.unpriced, "answer", "answers")) " the provider is no longer configured, so "
                "they are counted as saved without an amount." }
        }
        @if lines.is_empty() { p.quiet { "Nothing was spent or saved." } } @else {
            (table("lines", "By provider, client and purpose", ["Provider", "Client", "Purpose"], &names, SHOWN))
            (table("providers", "By provider", ["Provider"], &by(lines, 0), SHOWN_SUMS))
            (table("clients", "By client", ["Client"], &by(lines, 1), SHOWN_SUMS))
            (table("purposes", "By purpose", ["Purpose"], &by(lines, 2), SHOWN_SUMS))
        }
    };
    layout::page(visitor, StatusCode::OK, "Money", &content)
}

fn table<const N: usize>(id: &str, title: &str, heads: [&str; N], lines: &[([&str; N], Sums)], most: usize) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            @if lines.len() > most { p.quiet { "The first " (most) " of " (grouped(lines.len() as u64)) "; the file has all." } }
            div.scroll tabindex="0" role="group" aria-labelledby=(id) { table {
                thead { tr { @for head in heads { th scope="col" { (head) } } th.number scope="col" { "Calls" }
                    th.number scope="col" { "Spent" } th.number scope="col" { "Possibly" } th.number scope="col" { "Answers without a call" }
                    th.number scope="col" { "Saved" } } }
                tbody { @for (names, sums) in lines.iter().take(most) { tr {
                    @for name in names { th scope="row" { (name) } }
                    td.number { (grouped(sums.calls)) } td.number { (yuan(sums.spent)) } td.number { (yuan(sums.possible)) }
                    td.number { (grouped(sums.answers)) } td.number { (yuan(sums.saved)) } } } }
            } }
        }
    }
}

/// All lines as CSV.
fn file(period: &Period, lines: &[Line]) -> Response {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let written = csv.write_record(HEAD).and_then(|()| {
        lines.iter().try_for_each(|(names, sums)| {
            let numbers = [sums.calls, sums.spent, sums.possible, sums.answers, sums.saved, sums.unpriced];
            let names = names.iter().cloned().map(harmless);
            csv.write_record(names.chain(numbers.iter().map(u64::to_string)))
        })
    });
    let Some(text) = written.ok().and_then(|()| csv.into_inner().ok()) else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "The file could not be written.");
    };
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"money-{}.csv\"", period.name)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_told_with_the_command_that_reads_it() {
        let told = |query: &str| too_long(&Period::of(Some(query)).unwrap().unwrap());
        let month = told("month=2026-11");
        assert!(
            month
                .contains("choose a day, or use idgate ledger export --from 2026-11-01T00:00:00+08:00 --to 2026-12-01")
        );
        let day = told("day=2026-11-30");
        assert!(day.contains("10 seconds; use idgate ledger export --from 2026-11-30T00:00:00+08:00 --to 2026-12-01"));
    }

    #[test]
    fn tables_of_many_long_names_do_not_make_the_page_too_large() {
        let most = u64::MAX / 1000;
        let sums = Sums { calls: most, spent: most, possible: most, answers: most, saved: most, unpriced: 0 };
        let names: Vec<String> = (0..1000).map(|n| format!("{n:064}")).collect();
        let lines: Vec<_> = names.iter().map(|name| ([&**name; 3], sums)).collect();
        let named: Vec<_> = names.iter().map(|name| ([&**name], sums)).collect();
        let all = table("lines", "All", ["Provider", "Client", "Purpose"], &lines, SHOWN).into_string();
        let one = table("one", "One", ["Provider"], &named, SHOWN_SUMS).into_string();
        assert!(all.contains("The first 100 of 1\u{202f}000") && !all.contains(&names[100]));
        assert!(all.len() + 3 * one.len() < 90_000, "{} {}", all.len(), one.len());
    }
}
