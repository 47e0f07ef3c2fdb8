//! The result of a reconciliation: counts and amounts per class, as a table or as JSON.
//!
//! Invariant: a row is identified by its line number only, because its content may be personal data.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::matching::{Known, Matched};
use super::span::Span;
use super::usage::Row;
use crate::server::console::{self, Reconciled};

/// The table shows at most this many differences of each class.
const SHOWN: usize = 10;

#[derive(Debug, Serialize)]
pub(in crate::app) struct Report {
    provider: String,
    from: String,
    to: String,
    pub(in crate::app) balances: bool,
    /// All amounts in the export are zero, so amounts were not compared.
    has_no_prices: bool,
    /// Billed on both sides.
    agree: Sum,
    /// Not billed on either side, or unknown in the ledger and not billed by the provider.
    free: Sum,
    /// Billed on both sides at different prices. The amount is how much more the provider bills.
    price_differs: Sum,
    /// Billed by the provider, but unknown or not billed in the ledger. By the outcome of the call (`timeout`, `late`,
    /// …), or `no_call`, `repeated`.
    billed_there: BTreeMap<String, Sum>,
    /// Billed in the ledger but not by the provider: `not_billed` if a row says so, or `no_row`.
    billed_here: BTreeMap<String, Sum>,
    /// Billed in the ledger, without a row, and partly outside the export's time range: another export may contain it.
    at_the_edge: Sum,
    /// The total that the provider bills.
    total_there: Sum,
    /// The total billed in the ledger, without the calls at the edge.
    total_here: Sum,
    differences: Vec<Difference>,
}

/// Count and amount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Sum {
    count: u64,
    /// In millionths of a yuan. A row without an amount counts with the price in the ledger, or 0 if there is no call.
    micro_yuan: i64,
}

/// A row or call that differs between the two sides, or is at the edge of the time range.
#[derive(Debug, Serialize)]
struct Difference {
    class: &'static str,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The time of the row, or the end of the call (RFC 3339, UTC).
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micro_yuan_there: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micro_yuan_here: Option<i64>,
}

const BILLED_THERE: &str = "billed_there";
const BILLED_HERE: &str = "billed_here";
const PRICE_DIFFERS: &str = "price_differs";
/// The only class that is not counted as a disagreement.
const AT_THE_EDGE: &str = "at_the_edge";

impl Report {
    pub(super) fn of(
        provider: &str,
        Span { inside, around }: Span,
        rows: &[Row],
        calls: &[Known],
        matched: &Matched,
    ) -> Self {
        let mut report = Self {
            provider: provider.to_owned(),
            from: at(inside.0),
            to: at(inside.1),
            balances: false,
            has_no_prices: false,
            agree: Sum::default(),
            free: Sum::default(),
            price_differs: Sum::default(),
            billed_there: BTreeMap::new(),
            billed_here: BTreeMap::new(),
            at_the_edge: Sum::default(),
            total_there: Sum::default(),
            total_here: Sum::default(),
            differences: Vec::new(),
        };
        for (row, call, _) in &matched.pairs {
            if let (Some(row), Some(call)) = (rows.get(*row), calls.get(*call)) {
                report.pair(row, call);
            }
        }
        for (index, row) in matched.rows.iter().filter_map(|index| Some((index, rows.get(*index)?))) {
            report.row(row, matched.repeated.contains(index));
        }
        let is_near = |call: &&Known| call.begin_ms <= around.1 && call.end_ms >= around.0;
        for call in matched.calls.iter().filter_map(|index| calls.get(*index)).filter(is_near) {
            report.call(call, call.begin_ms >= inside.0 && call.end_ms <= inside.1);
        }
        report.balances = report.differences.iter().all(|difference| difference.class == AT_THE_EDGE);
        report
    }

    /// Marks that all amounts in the export are zero.
    pub(super) fn without_prices(self, has_no_prices: bool) -> Self {
        Self { has_no_prices, ..self }
    }

    fn pair(&mut self, row: &Row, call: &Known) {
        let there = row.micro_yuan.unwrap_or(call.micro_yuan);
        let known = call.billed == "yes";
        if row.billed {
            self.total_there.add(there);
        }
        if known {
            self.total_here.add(call.micro_yuan);
        }
        match (row.billed, known) {
            (true, true) if there == call.micro_yuan => self.agree.add(there),
            (true, true) => {
                self.price_differs.add(there - call.micro_yuan);
                self.differ(PRICE_DIFFERS, "price", Some(row), Some(call));
            }
            (true, false) => {
                let is_told = matches!(&*call.outcome, "timeout" | "interrupted");
                let reason = if call.late && !is_told { "late" } else { &call.outcome };
                self.billed_there.entry(reason.to_owned()).or_default().add(there);
                self.differ(BILLED_THERE, reason, Some(row), Some(call));
            }
            (false, true) => {
                self.billed_here.entry("not_billed".to_owned()).or_default().add(call.micro_yuan);
                self.differ(BILLED_HERE, "not_billed", Some(row), Some(call));
            }
            (false, false) => self.free.add(0),
        }
    }

    fn row(&mut self, row: &Row, is_repeated: bool) {
        if !row.billed {
            return self.free.add(0);
        }
        let reason = if is_repeated { "repeated" } else { "no_call" };
        let there = row.micro_yuan.unwrap_or(0);
        self.total_there.add(there);
        self.billed_there.entry(reason.to_owned()).or_default().add(there);
        self.differ(BILLED_THERE, reason, Some(row), None);
    }

    fn call(&mut self, call: &Known, is_inside: bool) {
        if call.billed != "yes" {
            return self.free.add(0);
        }
        if !is_inside {
            self.at_the_edge.add(call.micro_yuan);
            return self.differ(AT_THE_EDGE, "no_row", None, Some(call));
        }
        self.total_here.add(call.micro_yuan);
        self.billed_here.entry("no_row".to_owned()).or_default().add(call.micro_yuan);
        self.differ(BILLED_HERE, "no_row", None, Some(call));
    }

    fn differ(&mut self, class: &'static str, reason: &str, row: Option<&Row>, call: Option<&Known>) {
        let when = row.map(|row| row.at_ms).or(call.map(|call| call.end_ms)).unwrap_or_default();
        self.differences.push(Difference {
            class,
            reason: reason.to_owned(),
            line: row.map(|row| row.line),
            at: at(when),
            call: call.map(|call| call.id.clone()),
            provider_request_id: call.and_then(|call| call.request_id.clone()),
            micro_yuan_there: row.and_then(|row| row.micro_yuan),
            micro_yuan_here: call.map(|call| call.micro_yuan),
        });
    }

    /// The same for a page.
    pub(super) fn for_console(self) -> Reconciled {
        let sums = self.lines().into_iter().map(|(what, sum)| (what, sum.count, sum.micro_yuan)).collect();
        let difference = |one: Difference| console::Difference {
            class: one.class,
            reason: one.reason,
            line: one.line,
            at: one.at,
            call: one.call,
            provider_request_id: one.provider_request_id,
            there: one.micro_yuan_there,
            here: one.micro_yuan_here,
        };
        Reconciled {
            period: (self.from, self.to),
            balances: self.balances,
            has_no_prices: self.has_no_prices,
            sums,
            differences: self.differences.into_iter().map(difference).collect(),
        }
    }

    /// What was counted, in words.
    fn lines(&self) -> Vec<(String, &Sum)> {
        let mut lines = vec![
            ("billed there and here".to_owned(), &self.agree),
            ("not billed on either side".to_owned(), &self.free),
        ];
        if self.price_differs.count > 0 {
            lines.push(("billed on both sides at different prices (more there)".to_owned(), &self.price_differs));
        }
        for (reason, sum) in &self.billed_there {
            lines.push((format!("BILLED THERE, {}", explained(reason)), sum));
        }
        for (reason, sum) in &self.billed_here {
            lines.push((format!("BILLED HERE, {}", explained(reason)), sum));
        }
        if self.at_the_edge.count > 0 {
            lines.push(("billed here, at the edge: another export may have it".to_owned(), &self.at_the_edge));
        }
        lines.push(("total there".to_owned(), &self.total_there));
        lines.push(("total here".to_owned(), &self.total_here));
        lines
    }

    /// The report as a table.
    pub(in crate::app) fn table(&self) -> String {
        let mut text = format!("{} from {} to {}\n\n", self.provider, self.from, self.to);
        if self.has_no_prices {
            text.push_str(
                "All amounts in the export are zero, as with prepaid packages, so amounts were not compared.\n\n",
            );
        }
        let lines = self.lines();
        let width = lines.iter().map(|(what, _)| what.chars().count()).max().unwrap_or_default();
        for (what, sum) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:width$}  {:>9}  {:>16} yuan", sum.count, yuan(sum.micro_yuan));
        }
        for class in [BILLED_THERE, BILLED_HERE, PRICE_DIFFERS, AT_THE_EDGE] {
            let all: Vec<_> = self.differences.iter().filter(|difference| difference.class == class).collect();
            for difference in all.iter().take(SHOWN) {
                let _ = write!(text, "\n{class}: {}", difference.reason);
                if let Some(line) = difference.line {
                    let _ = write!(text, ", line {line}");
                }
                let _ = write!(text, ", {}", difference.at);
                if let Some(call) = &difference.call {
                    let _ = write!(text, ", call {call}");
                }
            }
            if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                let _ = write!(text, "\n{class}: … and {more} more; --json has all");
            }
        }
        if !self.differences.is_empty() {
            text.push('\n');
        }
        text.push_str(if self.balances { "\nIt balances." } else { "\nIt does NOT balance." });
        text
    }
}

impl Sum {
    fn add(&mut self, micro_yuan: i64) {
        self.count += 1;
        self.micro_yuan = self.micro_yuan.saturating_add(micro_yuan);
    }
}

fn explained(reason: &str) -> String {
    match reason {
        "timeout" => "unknown here: it timed out".to_owned(),
        "interrupted" => "unknown here: the connection or the process was interrupted".to_owned(),
        "late" => "unknown here: the answer came late".to_owned(),
        "no_call" => "no such call here".to_owned(),
        "repeated" => "the request id was billed before".to_owned(),
        "not_billed" => "not billed there, as its row says".to_owned(),
        "no_row" => "no row there".to_owned(),
        outcome => format!("unknown or not billed here: {outcome}"),
    }
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn yuan(micro: i64) -> String {
    let (sign, micro) = (if micro < 0 { "-" } else { "" }, micro.unsigned_abs());
    format!("{sign}{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_to_the_millionth() {
        assert_eq!([yuan(0), yuan(300_000), yuan(-1_000_001)], ["0.000000", "0.300000", "-1.000001"]);
    }
}
