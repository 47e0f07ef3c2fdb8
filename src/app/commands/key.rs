//! `idgate key new CLIENT`, and `idgate key new --operator NAME`.

use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use sha2::{Digest, Sha256};

use crate::server::api::key::KEY_PREFIX;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints a new key, once, and the lines for the configuration.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The client's name: lower-case letters, digits and _.
    #[arg(required_unless_present = "operator", conflicts_with = "operator")]
    client: Option<String>,
    /// Makes a key for an operator of this name instead.
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// From then on the key is refused: a day, which begins in China (2027-01-01), or a time (2027-01-01T00:00:00Z).
    #[arg(long, value_name = "DATE", value_parser = end)]
    expires: Option<Timestamp>,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New(New { client, operator, expires }) = command;
    let (section, name, holder) = match operator {
        Some(name) => ("operators", name, "operator"),
        None => ("clients", client.as_ref().unwrap_or(const { &String::new() }), "caller"),
    };
    anyhow::ensure!(
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "the name may hold lower-case letters, digits and _ only"
    );
    let key = new_key()?;
    let hash: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{name}-{}", hash.get(..8).unwrap_or_default());
    let expires = expires.map(|end| format!(", expires = \"{end}\"")).unwrap_or_default();
    super::say(&format!(
        "The key, shown this once; give it to the {holder}:\n\n  {key}\n\n\
         The lines for the configuration; they hold only its SHA-256. Beside an old key, add what is in [ ] to its list:\n\n  \
         [{section}.{name}]\n  keys = [{{ id = \"{id}\", sha256 = \"{hash}\"{expires} }}]"
    ));
    Ok(ExitCode::SUCCESS)
}

/// A time, or the beginning of a day in China.
fn end(text: &str) -> Result<Timestamp, String> {
    let day = || text.parse::<Date>().ok()?.at(0, 0, 0, 0).to_zoned(Offset::constant(8).to_time_zone()).ok();
    let time = text.parse().ok().or_else(|| day().map(|begins| begins.timestamp()));
    time.ok_or_else(|| "is no date; write 2027-01-01 or 2027-01-01T00:00:00Z".to_owned())
}

/// 32 bytes from the operating system.
fn new_key() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_china_and_a_time_is_a_time() {
        let written = |text: &str| end(text).map(|time| time.to_string());
        assert_eq!(written("2027-01-01").as_deref(), Ok("2026-12-31T16:00:00Z"));
        assert_eq!(written("2027-01-01T00:00:00Z").as_deref(), Ok("2027-01-01T00:00:00Z"));
        assert!(written("tomorrow").is_err() && written("2027-02-30").is_err());
    }
}
