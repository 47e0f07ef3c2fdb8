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

use super::ledger;
use super::progress::bar;
use super::serve;
use crate::app::commands::output::{say, tell};
use crate::app::config::{Mistakes, Sources};
use crate::app::gateway::digest_key_of;
use crate::app::reconcile::{Export, Form, Most, check_provider};

/// The exit code when an input cannot be read.
const UNREADABLE: u8 = 2;

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
    let named = || args.usage.display().to_string();
    let export = read(&args).with_context(named)?;
    let calls = args.of.calls(sources).await?;
    check_provider(&calls, &args.provider).await?;
    // Without the key such rows are matched by time.
    let secret = sources.load().ok().and_then(|settings| settings.digest_key);
    let key = secret.map(|secret| digest_key_of(&[secret.expose().as_bytes()]));
    let bar = bar(calls.count(&args.provider, export.period()).await?);
    let report = export.compare(&args.provider, &calls, key.as_ref(), Most::UNBOUNDED, || bar.inc(1)).await;
    bar.finish_and_clear();
    let report = report.with_context(named)?;
    say(&if args.json { serde_json::to_string_pretty(&report)? } else { report.table() })?;
    Ok(if report.balances { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(args: &Args) -> anyhow::Result<Export> {
    let file = File::open(&args.usage).context("cannot be read; check the path and its permissions")?;
    let bar = bar(file.metadata().map_or(0, |data| data.len()));
    let form = Form { id_column: args.id_column.clone(), time_column: args.time_column.clone(), zone: args.zone };
    let tolerance_ms = i64::try_from(args.tolerance.as_millis()).unwrap_or(i64::MAX);
    let bounds = (args.from.map(Timestamp::as_millisecond), args.to.map(Timestamp::as_millisecond));
    let export = Export::read(BufReader::new(file), &form, tolerance_ms, bounds, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    export
}

fn zone(text: &str) -> Result<Offset, String> {
    let offset = BrokenDownTime::parse("%:z", text).ok().and_then(|parsed| parsed.offset());
    offset.ok_or_else(|| "is not an offset; write one such as +08:00".to_owned())
}

fn tolerance(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text).ok().filter(|time| *time <= Duration::from_hours(1));
    parsed.ok_or_else(|| "is not a duration of at most an hour; write one such as \"5s\"".to_owned())
}
