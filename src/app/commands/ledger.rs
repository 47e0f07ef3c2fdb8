//! `idgate ledger verify` and `idgate ledger export`. Both work while a gateway is running, and on a copy.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::serve;
use crate::app::commands::output::{ignore_closed, remark, say};
use crate::app::config::Sources;
use crate::storage::ledger::{
    Answer, Attempt, Broken, Call, Claim, Entry, Expected, Forgotten, Operation, Reader, Removed, Subject, Times,
    confirm_time, left_behind,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check that no entry was changed, removed or moved. Exit code 0 if none was, 1 otherwise.
    Verify {
        #[command(flatten)]
        of: Of,
        /// Also check that entry NUMBER has this seal, as an earlier check printed it. Detects entries cut off at the
        /// end.
        #[arg(long, value_name = "NUMBER=SEAL", value_parser = expectation)]
        expect: Option<(i64, String)>,
        /// Check that removed entries had been kept for this time (such as "400 days"). Default: `ledger.keep` of the
        /// configuration, unless `--file` is given.
        #[arg(long, value_name = "TIME")]
        keep: Option<Span>,
        /// Accept that the first entry is more than a week later than the last one that was removed.
        #[arg(long)]
        accept_gap: bool,
    },
    /// Confirm that the time of the newest entry is right. After a jump of the clock nothing is removed from the ledger
    /// before that.
    ConfirmTime {
        #[command(flatten)]
        of: Of,
    },
    /// Print the entries, oldest first.
    Export {
        #[command(flatten)]
        of: Of,
        /// Only entries from this time on (RFC 3339, such as 2026-11-01T00:00:00+08:00).
        #[arg(long, value_name = "TIME")]
        from: Option<Timestamp>,
        /// Only entries before this time.
        #[arg(long, value_name = "TIME")]
        to: Option<Timestamp>,
        /// The output format.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
}

/// Which ledger.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The ledger's database file. Default: `ledger.file` of the configuration.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object per line, exactly as sealed.
    Jsonl,
    /// For spreadsheets: a cell that begins with = + - or @ gets an apostrophe in front.
    Csv,
}

/// The columns of CSV.
const COLUMNS: [&str; 22] = [
    "number",
    "kind",
    "id",
    "at",
    "flight",
    "client",
    "key_id",
    "purpose",
    "reference",
    "outcome",
    "verdict",
    "source",
    "provider",
    "endpoint",
    "provider_request_id",
    "billed",
    "price_micro_yuan",
    "duration_ms",
    "late",
    "attempts",
    "subject",
    "configuration",
];

pub(super) fn run(sources: &Sources, command: Command) -> anyhow::Result<ExitCode> {
    serve::block_on(async {
        match command {
            Command::Verify { of, expect, keep, accept_gap } => {
                let keep = of.keep(sources, keep)?;
                verify(&of.open(sources).await?, &Expected { seal: expect, keep, accepts_gap: accept_gap }).await
            }
            Command::ConfirmTime { of } => of.confirm_time(sources).await,
            Command::Export { of, from, to, format } => {
                let ms = |at: Option<Timestamp>, otherwise| at.map_or(otherwise, Timestamp::as_millisecond);
                export(&of.open(sources).await?, ms(from, i64::MIN), ms(to, i64::MAX), format).await
            }
        }
    })
}

impl Of {
    /// The database and the spool's folder, if that is another one.
    fn place(&self, sources: &Sources) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
        match &self.file {
            Some(file) => Ok((file.clone(), None)),
            None => {
                let ledger = sources.load()?.ledger;
                let none = "ledger.file is not configured; set it, or use --file FILE";
                Ok((ledger.file.context(none)?, ledger.spool_folder))
            }
        }
    }

    /// How long removed entries must have been kept.
    fn keep(&self, sources: &Sources, given: Option<Span>) -> anyhow::Result<Option<Duration>> {
        match (given, &self.file) {
            (Some(span), _) => {
                let keep = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
                let keep = keep.and_then(|keep| Duration::try_from(keep).ok());
                Ok(Some(keep.context("--keep is no fixed time; write \"400 days\" or \"26 weeks\"")?))
            }
            (None, Some(_)) => Ok(None),
            (None, None) => Ok(sources.load()?.ledger.keep()),
        }
    }

    async fn confirm_time(&self, sources: &Sources) -> anyhow::Result<ExitCode> {
        let (file, _) = self.place(sources)?;
        let before = confirm_time(&file).await;
        let before = before.map_err(|error| anyhow::anyhow!("{}: {}", file.display(), error))?;
        say(&match before {
            None => "the ledger is empty; there is nothing to confirm".to_owned(),
            Some(Times { newest_ms, believed_ms }) if believed_ms.is_some_and(|believed| newest_ms <= believed) => {
                "nothing to confirm: the newest entry is not later than expected".to_owned()
            }
            Some(Times { newest_ms, believed_ms }) => format!(
                "confirmed: the newest entry is of {}; the latest time before was {}. A running idgate removes what is too old within ten minutes",
                at(newest_ms),
                believed_ms.map_or("unknown".to_owned(), at),
            ),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn open(&self, sources: &Sources) -> anyhow::Result<Reader> {
        let (file, folder) = self.place(sources)?;
        for spool in left_behind(&file, folder.as_deref()).await {
            let spool = spool.display();
            remark(&format!("the latest entries are still in {spool}; the next start moves them into the database"));
        }
        let opened = Reader::open(&file).await;
        opened.map_err(|error| anyhow::anyhow!("{}: {}", file.display(), error))
    }
}

fn expectation(text: &str) -> Result<(i64, String), String> {
    let (number, seal) = text.split_once('=').ok_or("write NUMBER=SEAL, as `idgate ledger verify` printed it")?;
    Ok((
        number
            .parse()
            .map_err(|_| "NUMBER is not a number; write NUMBER=SEAL, as `idgate ledger verify` printed it")?,
        seal.to_ascii_lowercase(),
    ))
}

async fn verify(reader: &Reader, expected: &Expected) -> anyhow::Result<ExitCode> {
    let bar = bar(reader.count(i64::MIN, i64::MAX).await.unwrap_or_default());
    let checked = reader.check(expected, |entries| bar.set_position(entries)).await;
    bar.finish_and_clear();
    match checked? {
        Ok(checked) => {
            let removed = match (checked.removed_up_to, checked.is_adopted) {
                (0, _) => String::new(),
                (number, false) => format!("; entries up to number {number} were removed by retention"),
                (number, true) => format!(
                    "; entries up to number {number} were removed by an earlier idgate, which did not seal that: whether \
                     they were old enough cannot be checked"
                ),
            };
            let (entries, last, seal) = (checked.entries, checked.last, checked.seal);
            say(&format!("sound: {entries} entries{removed}\nkeep this for the next check: --expect {last}={seal}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            let what_to_do = match broken {
                Broken::Damaged(_) => {
                    "keep the file and those beside it (-wal, -shm, .spool, .spool-2, .begun), restore a copy, and \
                                       compare both with `idgate ledger export`"
                }
                Broken::Sums { .. } => {
                    "the entries are sound; budgets and packages are read from the sums. Keep a copy of the file, stop idgate, \
                     run `sqlite3 FILE 'DELETE FROM spent_by_day; DELETE FROM summed'` and start it: it sums anew"
                }
                Broken::Gap { after: 0, .. } => {
                    "if an earlier idgate has removed them because of their age: it did not seal that. Start this idgate \
                     with the file once, which seals it, and check again. Otherwise keep a copy of the file: it is evidence"
                }
                _ => "keep a copy of the file: it is evidence. Compare it with a backup by `idgate ledger export`",
            };
            say(&format!("NOT sound: {broken}\n{what_to_do}"))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn export(reader: &Reader, from_ms: i64, until_ms: i64, format: Format) -> anyhow::Result<ExitCode> {
    let bar = bar(reader.count(from_ms, until_ms).await?);
    let written = write_entries(reader, from_ms, until_ms, format, &bar).await;
    bar.finish_and_clear();
    written.or_else(ignore_closed)?;
    Ok(ExitCode::SUCCESS)
}

async fn write_entries(
    reader: &Reader,
    from_ms: i64,
    until_ms: i64,
    format: Format,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        Format::Jsonl => {
            let each = |number, body: &str| {
                bar.inc(1);
                // The sealed text unchanged, with its number in front.
                writeln!(out, "{{\"number\":{number},{}", body.strip_prefix('{').unwrap_or(body)).map_err(Into::into)
            };
            reader.each::<anyhow::Error>(from_ms, until_ms, each).await?;
            out.flush()?;
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(COLUMNS)?;
            let each = |number, body: &str| -> anyhow::Result<()> {
                bar.inc(1);
                let entry = serde_json::from_str(body).with_context(|| {
                    format!("entry number {number} cannot be read; `idgate ledger verify` shows what is damaged")
                })?;
                Ok(csv.write_record(record(number, entry).map(without_formula))?)
            };
            reader.each(from_ms, until_ms, each).await?;
            csv.flush()?;
        }
    }
    Ok(())
}

/// Puts an apostrophe before each sign with which a spreadsheet begins a formula: at the start of the cell, and after a
/// character that some spreadsheets take for the end of a cell, whatever stands between as white space or quotes.
fn without_formula(cell: String) -> String {
    let mut safe = String::with_capacity(cell.len());
    let mut is_start = true;
    for c in cell.chars() {
        if is_start && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
            safe.push('\'');
        }
        safe.push(c);
        is_start = matches!(c, ';' | ',' | '|' | '\t' | '\r' | '\n') || (is_start && matches!(c, ' ' | '"'));
    }
    safe
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn record(number: i64, entry: Entry) -> [String; COLUMNS.len()] {
    let number = number.to_string();
    match entry {
        Entry::Call(Call { id, at_ms, flight, subject, client, purpose, provider, endpoint, end }) => [
            number,
            "call".to_owned(),
            id.to_string(),
            at(at_ms),
            flight.to_string(),
            client,
            String::new(),
            purpose,
            String::new(),
            end.outcome,
            end.verdict.unwrap_or_default(),
            String::new(),
            provider,
            endpoint,
            end.provider_request_id.unwrap_or_default(),
            end.billed,
            end.price_micro_yuan.to_string(),
            end.duration_ms.to_string(),
            end.late.to_string(),
            String::new(),
            format!("{}:{}", subject.key, subject.digest),
            String::new(),
        ],
        Entry::Answer(answer) => {
            let Answer { id, at_ms, client, key_id, purpose, reference, subject, outcome, source, provider, .. } =
                answer;
            [
                number,
                "answer".to_owned(),
                id.to_string(),
                at(at_ms),
                answer.flight.map(|flight| flight.to_string()).unwrap_or_default(),
                client,
                key_id,
                purpose,
                reference.unwrap_or_default(),
                outcome,
                String::new(),
                source.unwrap_or_default(),
                provider.unwrap_or_default(),
                String::new(),
                answer.provider_request_id.unwrap_or_default(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                answer.attempts.iter().map(in_short).collect::<Vec<_>>().join(" "),
                subject.map(|subject| format!("{}:{}", subject.key, subject.digest)).unwrap_or_default(),
                answer.configuration,
            ]
        }
        Entry::Claim(Claim { id, at_ms, client, outcome, subject, .. }) => {
            plain([number, "claim".to_owned(), id.to_string(), at(at_ms)], client, outcome, Some(&subject))
        }
        Entry::Forgotten(Forgotten { id, at_ms, client, outcome, subject, .. }) => {
            plain([number, "forgotten".to_owned(), id.to_string(), at(at_ms)], client, outcome, Some(&subject))
        }
        Entry::Operation(operation) => {
            let Operation { id, at_ms, client, outcome, subject, provider, .. } = operation;
            let first = [number, "operation".to_owned(), id.to_string(), at(at_ms)];
            let mut record = plain(first, client, outcome, subject.as_ref());
            if let Some(place) =
                COLUMNS.iter().position(|column| *column == "provider").and_then(|at| record.get_mut(at))
            {
                *place = provider.unwrap_or_default();
            }
            record
        }
        Entry::Removed(Removed { id, at_ms, client, outcome, .. }) => {
            plain([number, "removed".to_owned(), id.to_string(), at(at_ms)], client, outcome, None)
        }
    }
}

/// Entries that are neither calls nor answers fill only a few columns. JSON Lines has all of their fields.
fn plain(first: [String; 4], client: String, outcome: String, subject: Option<&Subject>) -> [String; COLUMNS.len()] {
    let mut record = std::array::from_fn(|_| String::new());
    let subject = subject.map(|subject| format!("{}:{}", subject.key, subject.digest)).unwrap_or_default();
    let named = [("client", client), ("outcome", outcome), ("subject", subject)];
    for (place, column) in record.iter_mut().zip(COLUMNS) {
        if let Some((_, value)) = named.iter().find(|(name, _)| *name == column) {
            place.clone_from(value);
        }
    }
    for (place, value) in record.iter_mut().zip(first) {
        *place = value;
    }
    record
}

fn in_short(attempt: &Attempt) -> String {
    format!("{}/{}={}({})", attempt.provider, attempt.endpoint, attempt.outcome, attempt.billed)
}

/// A progress bar on standard error; hidden unless that is a terminal.
pub(super) fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_with_the_sign_of_a_formula() {
        for (cell, safe) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("\"=1", "\"'=1"),
            ("\t=1", "\t'=1"),
            ("a;=1,\"+2|-3", "a;'=1,\"'+2|'-3"),
        ] {
            assert_eq!(without_formula(cell.to_owned()), safe);
        }
        for plain in ["", "order-4711", "a=b+c", "0199f3b2-7c1e-7c55", "2026-11-28T00:00:00.000Z", "one/0=verdict(yes)"]
        {
            assert_eq!(without_formula(plain.to_owned()), plain);
        }
    }
}
