//! `idgate reconcile`: compares a provider's usage export with the ledger. Works while a gateway is running, and on a
//! copy.
//!
//! Exit codes: 0 they agree, 1 they differ, 2 an input cannot be read.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;

use self::matching::Known;
use self::report::Report;
use self::span::Span;
use self::usage::{Form, Row, Usage};
use super::ledger;
use super::progress::bar;
use super::serve;
use crate::app::commands::output::{say, tell};
use crate::app::config::{Mistakes, Sources};
use crate::app::gateway::digest_key_of;
use crate::storage::ledger::{Call, ReadError};

mod matching;
mod report;
mod span;
mod usage;

/// The exit code when an input cannot be read.
const UNREADABLE: u8 = 2;

/// How far outside the export's time range to look for calls. A request id found there shows that the clocks differ.
const AROUND_MS: i64 = 26 * 60 * 60 * 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The provider that made the export: the NAME of its [providers.NAME] section.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The export: CSV in UTF-8 with a header line and one row per call.
    #[arg(value_name = "USAGE.csv")]
    usage: PathBuf,
    #[command(flatten)]
    of: ledger::Of,
    /// Print one JSON object with every difference.
    #[arg(long)]
    json: bool,
    /// The header of the column with the request ids, if it is not recognised automatically.
    #[arg(long, value_name = "HEADER")]
    id_column: Option<String>,
    /// The header of the column with the times, if it is not recognised automatically.
    #[arg(long, value_name = "HEADER")]
    time_column: Option<String>,
    /// The time zone of times without an offset.
    #[arg(long, value_name = "OFFSET", default_value = "+08:00", value_parser = zone, allow_hyphen_values = true)]
    zone: Offset,
    /// How much the times of a row and a call without a request id (such as a timeout) may differ to count as one call.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = tolerance)]
    tolerance: Duration,
    /// The start of the time that the export covers (RFC 3339). Default: the time of its first row.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// The end of the time that the export covers. Default: the time of its last row.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

pub(super) fn run(sources: &Sources, args: Args) -> anyhow::Result<ExitCode> {
    let done = serve::block_on(reconcile(sources, args));
    done.or_else(|error| match error.downcast_ref::<Mistakes>() {
        Some(_) => Err(error),
        None => {
            tell(&error);
            Ok(ExitCode::from(UNREADABLE))
        }
    })
}

async fn reconcile(sources: &Sources, args: Args) -> anyhow::Result<ExitCode> {
    let Usage { mut rows, has_no_prices } = usage(&args)?;
    let reader = args.of.calls(sources).await?;
    let tolerance_ms = i64::try_from(args.tolerance.as_millis()).unwrap_or(i64::MAX);
    let span = span(&args, &rows, tolerance_ms)?;
    let calls = calls(&reader, &args.provider, span).await?;
    // Without the key such rows are matched by time.
    if let Some(secret) = sources.load().ok().and_then(|settings| settings.digest_key) {
        matching::seal(&mut rows, &calls, &digest_key_of(&[secret.expose().as_bytes()]));
    }
    let matched = matching::all(&rows, &calls, tolerance_ms);
    if let Some(minutes) = matching::zone_shift(&rows, &calls, &matched) {
        let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        anyhow::bail!(
            "{}: the times of most rows differ by {sign}{:02}:{:02} from those of the same calls in the ledger; \
             correct --zone (it is {}), or the offsets in the export",
            args.usage.display(),
            size / 60,
            size % 60,
            args.zone
        );
    }
    let report = Report::of(&args.provider, span, &rows, &calls, &matched).without_prices(has_no_prices);
    say(&if args.json { serde_json::to_string_pretty(&report)? } else { report.table() })?;
    Ok(if report.balances { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn usage(args: &Args) -> anyhow::Result<Usage> {
    let named = || args.usage.display().to_string();
    let file = File::open(&args.usage)
        .with_context(|| format!("{} cannot be read; check the path and its permissions", named()))?;
    let bar = bar(file.metadata().map_or(0, |data| data.len()));
    let form = Form { id_column: args.id_column.clone(), time_column: args.time_column.clone(), zone: args.zone };
    let usage = usage::read(BufReader::new(file), &form, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    usage.with_context(named)
}

/// --from and --to are exact. Without them the range comes from the rows, which are only as exact as the tolerance.
fn span(args: &Args, rows: &[Row], tolerance_ms: i64) -> anyhow::Result<Span> {
    let (first, last) = (rows.iter().map(|row| row.at_ms).min(), rows.iter().map(|row| row.at_ms).max());
    let (from, to) = (args.from.map(Timestamp::as_millisecond), args.to.map(Timestamp::as_millisecond));
    let inside = from.or(first).zip(to.or(last));
    let earliest = from.or(first.map(|ms| ms.saturating_sub(tolerance_ms)));
    let latest = to.or(last.map(|ms| ms.saturating_add(tolerance_ms)));
    let span = inside.zip(earliest.zip(latest)).map(|(inside, around)| Span { inside, around });
    span.with_context(|| {
        let file = args.usage.display();
        format!("{file} has no rows, so the time it covers is unknown; add --from and --to")
    })
}

/// The provider's calls in this time and around it.
async fn calls(
    reader: &ledger::Calls,
    provider: &str,
    Span { around: (from_ms, to_ms), .. }: Span,
) -> anyhow::Result<Vec<Known>> {
    let readable = |error: ReadError| anyhow::Error::from(error);
    let providers = reader.providers().await.map_err(readable)?;
    anyhow::ensure!(
        providers.iter().any(|name| name == provider),
        "the ledger has no calls to {provider:?}; use one of: {}",
        if providers.is_empty() { "(none)".to_owned() } else { providers.join(", ") }
    );
    let (from_ms, to_ms) = (from_ms.saturating_sub(AROUND_MS), to_ms.saturating_add(AROUND_MS));
    let bar = bar(reader.count(provider, (from_ms, to_ms)).await.map_err(readable)?);
    let mut calls = Vec::new();
    let each = |call| {
        bar.inc(1);
        calls.push(known(call));
    };
    reader.each(provider, (from_ms, to_ms), each).await.map_err(readable)?;
    bar.finish_and_clear();
    Ok(calls)
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

fn zone(text: &str) -> Result<Offset, String> {
    let offset = BrokenDownTime::parse("%:z", text).ok().and_then(|parsed| parsed.offset());
    offset.ok_or_else(|| "is not an offset; write one such as +08:00".to_owned())
}

fn tolerance(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text).ok().filter(|time| *time <= Duration::from_hours(1));
    parsed.ok_or_else(|| "is not a duration of at most an hour; write one such as \"5s\"".to_owned())
}
