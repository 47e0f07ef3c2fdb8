//! `idgate ledger verify` and `idgate ledger export`. Both work while a gateway is running, and on a copy.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::progress::bar;
use super::spreadsheet::{Format, at, csv_header, csv_record};
use super::{record, serve};
use crate::app::commands::output::{ignore_closed, remark, say};
use crate::app::config::Sources;
use crate::app::reconcile::Calls;
use crate::storage::ledger::postgres::{self, Books, Record};
use crate::storage::ledger::{Broken, Expected, Reader, Times, confirm_time, left_behind};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check that no entry was changed, removed or moved. Exit code 0 if none was, 1 otherwise.
    Verify {
        #[command(flatten)]
        of: Of,
        /// Also check that entry NUMBER has this seal, as an earlier check printed it. Detects entries cut off at the
        /// end. For PostgreSQL, a line or a file of what an earlier check printed.
        #[arg(long, value_name = "NUMBER=SEAL")]
        expect: Option<String>,
        /// Check that removed entries had been kept for this time (such as "400 days"). Default: `ledger.keep` of the
        /// configuration, unless `--file` is given.
        #[arg(long, value_name = "TIME")]
        keep: Option<Span>,
        /// Accept that the first entry is more than a week later than the last one that was removed.
        #[arg(long)]
        accept_gap: bool,
        /// For PostgreSQL: only the books of this replica.
        #[arg(long, value_name = "NAME")]
        replica: Option<String>,
        /// For PostgreSQL: only the books of this month, such as 202611.
        #[arg(long, value_name = "MONTH")]
        book: Option<i32>,
    },
    /// For PostgreSQL: make the tables and the months, as the owner of the schema, if `ledger.postgres.migrate` is false.
    Migrate,
    /// For PostgreSQL: send the entries of an SQLite ledger, which is kept. Can be repeated.
    Import {
        /// The SQLite ledger. No gateway may use it.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// In whose books they are entered.
        #[arg(long, value_name = "NAME", default_value = "import")]
        replica: String,
    },
    /// For PostgreSQL: send what a replica that does not come back has left in its spool.
    Move {
        /// The folder of the spool.
        #[arg(long, value_name = "FOLDER")]
        spool: PathBuf,
        /// The name of the replica.
        #[arg(long, value_name = "NAME")]
        replica: String,
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

pub(super) fn run(sources: &Sources, command: Command) -> anyhow::Result<ExitCode> {
    serve::block_on(async {
        match command {
            Command::Verify { of, expect, keep, accept_gap, replica, book } => {
                if let Some(postgres) = of.postgres(sources)? {
                    let expected = expect.as_deref().map(record::expected).transpose()?.unwrap_or_default();
                    return record::verify(&postgres, &Books { replica, month: book, expected }).await;
                }
                let expect = expect.as_deref().map(expectation).transpose().map_err(anyhow::Error::msg)?;
                let keep = of.keep(sources, keep)?;
                verify(&of.open(sources).await?, &Expected { seal: expect, keep, accepts_gap: accept_gap }).await
            }
            Command::ConfirmTime { of } => of.confirm_time(sources).await,
            Command::Export { of, from, to, format } => {
                let ms = |at: Option<Timestamp>, otherwise| at.map_or(otherwise, Timestamp::as_millisecond);
                let (from, to) = (ms(from, i64::MIN), ms(to, i64::MAX));
                match of.postgres(sources)? {
                    Some(postgres) => record::export(&postgres, from, to, format).await,
                    None => export(&of.open(sources).await?, from, to, format).await,
                }
            }
            Command::Migrate => record::migrate(&needed(sources)?).await,
            Command::Import { from, replica } => record::import(&needed(sources)?, &from, &replica).await,
            Command::Move { spool, replica } => {
                needed(sources)?;
                record::move_spool(&sources.load()?, spool, replica).await
            }
        }
    })
}

/// The section of PostgreSQL, without which the command makes no sense.
fn needed(sources: &Sources) -> anyhow::Result<postgres::Config> {
    sources.load()?.ledger.postgres.context("ledger.postgres is not configured; an SQLite ledger needs none of this")
}

impl Of {
    /// The section of PostgreSQL, if that is the record.
    fn postgres(&self, sources: &Sources) -> anyhow::Result<Option<postgres::Config>> {
        Ok(if self.file.is_some() { None } else { sources.load()?.ledger.postgres })
    }

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
        let before = match self.postgres(sources)? {
            Some(postgres) => record::confirm_time(&postgres).await?,
            None => {
                let (file, _) = self.place(sources)?;
                confirm_time(&file).await.map_err(|error| anyhow::anyhow!("{}: {}", file.display(), error))?
            }
        };
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

    /// Whatever keeps the record.
    pub(super) async fn calls(&self, sources: &Sources) -> anyhow::Result<Calls> {
        Ok(match self.postgres(sources)? {
            Some(postgres) => Calls::Common(Record::open(&postgres).await?),
            None => Calls::Own(Box::new(self.open(sources).await?)),
        })
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
            csv.write_record(csv_header())?;
            let each = |number: i64, body: &str| -> anyhow::Result<()> {
                bar.inc(1);
                Ok(csv.write_record(csv_record(number.to_string(), body)?)?)
            };
            reader.each(from_ms, until_ms, each).await?;
            csv.flush()?;
        }
    }
    Ok(())
}
