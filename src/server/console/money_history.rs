//! What was spent on each of the last days and in each of the last months, from the ledger's daily sums. Each leads to
//! what was possibly spent and saved, and for which purpose.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};

use super::shown::{grouped, yuan};
use super::state::Console;
use crate::domain::clock::{date_in_china, start_in_china};
use crate::storage::ledger::OnDay;

const DAYS: i64 = 31;
const MONTHS: i64 = 12;
/// More columns would make the page too large.
const MOST_PROVIDERS: usize = 12;

/// By period (newest last) and provider: the cost in millionths of a yuan; and the calls of a period.
#[derive(Debug, Default)]
struct Periods(BTreeMap<String, (u64, BTreeMap<String, u64>)>);

impl Periods {
    fn add(&mut self, period: String, of: &OnDay) {
        let (calls, costs) = self.0.entry(period).or_default();
        *calls += of.calls;
        *costs.entry(of.provider.clone()).or_default() += of.micro_yuan;
    }
}

pub(super) async fn of(console: &Console, today: Date) -> Markup {
    let ledger = &console.pipeline.ledger;
    let first_month = today.first_of_month().checked_sub((MONTHS - 1).months()).ok();
    let first_day = today.checked_sub((DAYS - 1).days()).ok();
    let Some((month, first_day)) = first_month.zip(first_day) else { return html! {} };
    let Some(start) = start_in_china(month).filter(|_| ledger.is_on()) else { return html! {} };
    // What cannot be read is told above, where today's sums are.
    let Ok(all) = ledger.spent_by_day(start.as_millisecond()).await else { return html! {} };
    let (mut days, mut months) = (Periods::default(), Periods::default());
    let mut providers = BTreeSet::new();
    for one in &all {
        let Ok(at) = Timestamp::from_millisecond(one.start_ms) else { continue };
        let date = date_in_china(at);
        providers.insert(one.provider.as_str());
        months.add(date.strftime("%Y-%m").to_string(), one);
        if date >= first_day {
            days.add(date.to_string(), one);
        }
    }
    let providers: Vec<_> = providers.into_iter().take(MOST_PROVIDERS).collect();
    html! {
        (table("days", "Day by day", "day", &days, &providers))
        (table("months", "Month by month", "month", &months, &providers))
        form method="get" action="/console/money" {
            label for="day" { "Another day " } input #day type="date" name="day" required; " "
            button type="submit" { "Show" }
        }
    }
}

/// `parameter` is the one of the address that shows a period.
fn table(id: &str, title: &str, parameter: &str, periods: &Periods, providers: &[&str]) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            @if periods.0.is_empty() { p.quiet { "Nothing was spent." } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby=(id) { table {
                    thead { tr { th scope="col" { (if parameter == "day" { "Day" } else { "Month" }) } th.number scope="col" { "Calls" } th.number scope="col" { "Spent" }
                        @for provider in providers { th.number scope="col" { (provider) } } } }
                    tbody { @for (name, (calls, costs)) in periods.0.iter().rev() { tr {
                        th scope="row" { a href=(format!("/console/money?{parameter}={name}")) { (name) } }
                        td.number { (grouped(*calls)) } td.number { (yuan(costs.values().sum())) }
                        @for provider in providers { td.number { (yuan(costs.get(*provider).copied().unwrap_or_default())) } } } } }
                } }
            }
        }
    }
}
