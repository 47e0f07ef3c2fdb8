//! `idgate ledger …` where PostgreSQL is the record.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::output::{ignore_closed, remark, say};
use super::progress::bar;
use super::spreadsheet::{Format, csv_header, csv_record};
use crate::app::World;
use crate::app::config::Settings;
use crate::server::http::access_log::AccessLog;
use crate::storage::ledger::postgres::{self, Books, Config, ExpectedSeal, Exported, Record};
use crate::storage::ledger::{Expected, Ledger, Reader, Times};

/// The lines that an earlier `verify` printed: `REPLICA/MONTH/NUMBER=SEAL`, one or a file of them.
pub(super) fn expected(text: &str) -> anyhow::Result<Vec<ExpectedSeal>> {
    if let Some(one) = line(text) {
        return Ok(vec![one]);
    }
    let read = std::fs::read_to_string(text);
    let read = read.with_context(|| format!("--expect: {text} is neither REPLICA/MONTH/NUMBER=SEAL nor a file"))?;
    let lines = read.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|text| line(text).with_context(|| format!("--expect: {text:?} is not REPLICA/MONTH/NUMBER=SEAL")))
        .collect()
}

fn line(text: &str) -> Option<ExpectedSeal> {
    let (entry, seal) = text.split_once('=')?;
    let mut parts = entry.split('/');
    let (replica, month, number) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let is_seal = seal.len() == 64 && seal.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_seal && parts.next().is_none()).then(|| ExpectedSeal {
        replica: replica.to_owned(),
        month,
        number,
        seal: seal.to_ascii_lowercase(),
    })
}

pub(super) async fn verify(config: &Config, books: &Books) -> anyhow::Result<ExitCode> {
    let record = Record::open(config).await?;
    let bar = bar(record.count().await.unwrap_or_default());
    let checked = record.check(books, |entries| bar.set_position(entries)).await;
    bar.finish_and_clear();
    match checked? {
        Ok(sound) => {
            for book in &sound {
                let (replica, month, last, seal) = (&book.replica, book.month, book.last, &book.seal);
                if book.entries.is_some() {
                    say(&format!("{replica}/{month}/{last}={seal}"))?;
                } else {
                    remark(&format!("{replica}/{month}: removed by retention, up to number {last}"));
                }
            }
            let entries: u64 = sound.iter().filter_map(|book| book.entries).sum();
            remark(&format!(
                "sound: {entries} entries; keep the lines above in a file for the next check: --expect FILE"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            say(&format!(
                "NOT sound: {broken}\nkeep a copy (pg_dump): it is evidence. Compare it with a backup by `idgate ledger \
                 export`"
            ))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(super) async fn export(config: &Config, from_ms: i64, until_ms: i64, format: Format) -> anyhow::Result<ExitCode> {
    let record = Record::open(config).await?;
    let bar = bar(record.count().await.unwrap_or_default());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Jsonl => {
            let each = |Exported { replica, month, number, body }: Exported<'_>| {
                bar.inc(1);
                let body = body.strip_prefix('{').unwrap_or(body);
                // The sealed text unchanged, with its place in front.
                writeln!(out, "{{\"replica\":\"{replica}\",\"book\":{month},\"number\":{number},{body}")
                    .map_err(Into::into)
            };
            let written = record.each::<anyhow::Error>(from_ms, until_ms, each).await;
            written.and_then(|()| out.flush().map_err(Into::into))
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(csv_header())?;
            let each = |Exported { replica, month, number, body }: Exported<'_>| -> anyhow::Result<()> {
                bar.inc(1);
                Ok(csv.write_record(csv_record(format!("{replica}/{month}/{number}"), body)?)?)
            };
            let written = record.each::<anyhow::Error>(from_ms, until_ms, each).await;
            written.and_then(|()| csv.flush().map_err(Into::into))
        }
    };
    bar.finish_and_clear();
    written.or_else(ignore_closed)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    postgres::migrate(config, &world().clock).await?;
    say("the schema is up to date, and this month and the next three have their partitions")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn confirm_time(config: &Config) -> anyhow::Result<Option<Times>> {
    Ok(postgres::confirm_time(config).await?)
}

pub(super) async fn import(config: &Config, from: &Path, replica: &str) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(from).await.with_context(|| from.display().to_string())?;
    if let Err(broken) = reader.check(&Expected::default(), |_| {}).await? {
        anyhow::bail!("{}: {broken}; `idgate ledger verify --file` says what to do", from.display());
    }
    let world = world();
    let bar = bar(reader.count(i64::MIN, i64::MAX).await.unwrap_or_default());
    let imported = postgres::import(config, from, replica, (&world.clock, &world.ids), |done| bar.set_position(done));
    let imported = imported.await.with_context(|| format!("{} cannot be imported", from.display()));
    bar.finish_and_clear();
    let postgres::Imported { entries, known, left_out } = imported?;
    say(&format!(
        "imported: {entries} entries into the books of {replica}; {known} were there; {left_out} records of removals \
         were left out. Keep the file: what earlier checks printed is checked against it"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Moves what a replica that is gone has left in its spool, as its next start would.
pub(super) async fn move_spool(settings: &Settings, spool: PathBuf, replica: String) -> anyhow::Result<ExitCode> {
    let mut config = settings.ledger.clone();
    (config.spool_folder, config.replica) = (Some(spool), replica);
    let world = world();
    let ledger = Ledger::open(&config, world.clock.clone(), world.ids.clone()).await?;
    let is_away = ledger.backlog().is_some_and(|backlog| backlog.postgres == Some(false));
    ledger.close().await;
    anyhow::ensure!(!is_away, "PostgreSQL does not answer; what was in the spool still is: move it later");
    say("moved: PostgreSQL has what was in the spool, and calls that were under way are recorded as interrupted")?;
    Ok(ExitCode::SUCCESS)
}

fn world() -> World {
    World::real(AccessLog::nowhere())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_earlier_check_is_read_again() {
        let seal = "0f".repeat(32);
        let expected = ExpectedSeal { replica: "idgate-0".to_owned(), month: 202_611, number: 42, seal: seal.clone() };
        assert_eq!(line(&format!("idgate-0/202611/42={seal}")), Some(expected));
        for wrong in ["", "42=00", &format!("a/202611/42/1={seal}"), &format!("a/b/42={seal}"), "a/202611/42=zz"] {
            assert_eq!(line(wrong), None, "{wrong}");
        }
    }
}
