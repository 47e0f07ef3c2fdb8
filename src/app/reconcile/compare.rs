//! The comparison itself.

use std::io::Read;

use anyhow::Context as _;
use jiff::tz::Offset;

use super::calls::Calls;
use super::matching::{self, Known};
use super::report::Report;
use super::span::Span;
use super::usage::{self, Form, Row, Usage};
use crate::domain::subject::DigestKey;
use crate::storage::ledger::Call;

/// How far outside the export's time range to look for calls. A request id found there shows that the clocks differ.
const AROUND_MS: i64 = 26 * 60 * 60 * 1_000;

/// What is more than a page compares.
pub(super) const TOO_LARGE: &str =
    "is more than a page compares; export a shorter time, or use the command `idgate reconcile`";

/// An export that was read, and how to compare it.
#[derive(Debug)]
pub(in crate::app) struct Export {
    usage: Usage,
    span: Span,
    tolerance_ms: i64,
    zone: Offset,
}

/// How much of a machine a comparison may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Most {
    pub(in crate::app) rows: usize,
    /// Pairs of a row and a call that are possible by time.
    pub(in crate::app) pairs: usize,
}

impl Most {
    pub(in crate::app) const UNBOUNDED: Self = Self { rows: usize::MAX, pairs: usize::MAX };
}

/// What the export is said to cover (milliseconds since 1970); without it, from its first row to its last.
pub(in crate::app) type Bounds = (Option<i64>, Option<i64>);

impl Export {
    /// Reads an export. Calls `progress` with the number of bytes read so far.
    ///
    /// # Errors
    /// Where it cannot be read, and what to do.
    pub(in crate::app) fn read(
        from: impl Read,
        form: &Form,
        tolerance_ms: i64,
        bounds: Bounds,
        progress: impl FnMut(u64),
    ) -> anyhow::Result<Self> {
        let usage = usage::read(from, form, progress)?;
        let span = span(bounds, &usage.rows, tolerance_ms)?;
        Ok(Self { usage, span, tolerance_ms, zone: form.zone })
    }

    /// The period in which calls may be that belong to it.
    pub(in crate::app) const fn period(&self) -> (i64, i64) {
        let (from_ms, until_ms) = self.span.around;
        (from_ms.saturating_sub(AROUND_MS), until_ms.saturating_add(AROUND_MS))
    }

    /// Compares it with the calls to `provider`. `each` is called for each call that is read. Without `key`, request ids
    /// that the ledger has as digests are matched by time.
    ///
    /// # Errors
    /// The calls cannot be read, there are none to this provider, or the times are of another zone.
    pub(in crate::app) async fn compare(
        mut self,
        provider: &str,
        with: &Calls,
        key: Option<&DigestKey>,
        most: Most,
        mut each: impl FnMut(),
    ) -> anyhow::Result<Report> {
        anyhow::ensure!(self.usage.rows.len() <= most.rows, TOO_LARGE);
        let mut calls = Vec::new();
        let keep = |call| {
            each();
            calls.push(known(call));
        };
        with.each(provider, self.period(), keep).await?;
        let Usage { rows, has_no_prices } = &mut self.usage;
        if let Some(key) = key {
            matching::seal(rows, &calls, key);
        }
        let matched = matching::within(rows, &calls, self.tolerance_ms, most.pairs).context(TOO_LARGE)?;
        if let Some(minutes) = matching::zone_shift(rows, &calls, &matched) {
            let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            anyhow::bail!(
                "the times of most rows differ by {sign}{:02}:{:02} from those of the same calls in the ledger; correct \
                 the zone of times without an offset (it is {}), or the offsets in the export",
                size / 60,
                size % 60,
                self.zone
            );
        }
        Ok(Report::of(provider, self.span, rows, &calls, &matched).without_prices(*has_no_prices))
    }
}

/// Checks that the ledger has calls to this provider.
///
/// # Errors
/// It has none; or it cannot be read.
pub(in crate::app) async fn check_provider(calls: &Calls, provider: &str) -> anyhow::Result<()> {
    let providers = calls.providers().await?;
    anyhow::ensure!(
        providers.iter().any(|name| name == provider),
        "the ledger has no calls to {provider:?}; use one of: {}",
        if providers.is_empty() { "(none)".to_owned() } else { providers.join(", ") }
    );
    Ok(())
}

/// Given bounds are exact. Without them the range comes from the rows, which are only as exact as the tolerance.
fn span((from, to): Bounds, rows: &[Row], tolerance_ms: i64) -> anyhow::Result<Span> {
    let (first, last) = (rows.iter().map(|row| row.at_ms).min(), rows.iter().map(|row| row.at_ms).max());
    let inside = from.or(first).zip(to.or(last));
    let earliest = from.or(first.map(|ms| ms.saturating_sub(tolerance_ms)));
    let latest = to.or(last.map(|ms| ms.saturating_add(tolerance_ms)));
    let span = inside.zip(earliest.zip(latest)).map(|(inside, around)| Span { inside, around });
    span.context("has no rows, so the time it covers is unknown; with `idgate reconcile`, add --from and --to")
}

fn known(Call { id, at_ms, end, .. }: Call) -> Known {
    let lasted = i64::try_from(end.duration_ms).unwrap_or(i64::MAX);
    // The id has the time at which the call began. A call killed with its process is recorded at the next start, so its
    // duration is unknown.
    let made = id.get_timestamp().map(|made| made.to_unix()).and_then(|(seconds, nanos)| {
        i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))
    });
    let begin_ms = at_ms.saturating_sub(lasted);
    Known {
        id: id.to_string(),
        begin_ms: made.map_or(begin_ms, |made| made.min(begin_ms)),
        end_ms: at_ms,
        request_id: end.provider_request_id,
        billed: end.billed,
        micro_yuan: i64::try_from(end.price_micro_yuan).unwrap_or(i64::MAX),
        outcome: end.outcome,
        late: end.late,
    }
}
