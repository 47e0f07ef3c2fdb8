//! `idgate key new CLIENT`, `idgate key new --operator NAME`, and `idgate key new --receipts FILE`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use sha2::{Digest, Sha256};

use crate::server::api::key::KEY_PREFIX;
use crate::server::api::receipt::keys::Pair;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints a new key, once, and the lines for the configuration.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The client's name: lower-case letters, digits and _.
    #[arg(required_unless_present_any = ["operator", "receipts"], conflicts_with_all = ["operator", "receipts"])]
    client: Option<String>,
    /// Makes a key for an operator of this name instead.
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// Makes the key that signs receipts instead: the private half in FILE, which must not be there yet, the public half in
    /// FILE.pub.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operator", "expires"])]
    receipts: Option<PathBuf>,
    /// From then on the key is refused: a day, which begins in China (2027-01-01), or a time (2027-01-01T00:00:00Z).
    #[arg(long, value_name = "DATE", value_parser = end)]
    expires: Option<Timestamp>,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New(New { client, operator, receipts, expires }) = command;
    if let Some(file) = receipts {
        return new_receipts_key(file);
    }
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

fn new_receipts_key(file: &Path) -> anyhow::Result<ExitCode> {
    let Pair { private, public } = Pair::new().context("the operating system gives no randomness")?;
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    let public_file = PathBuf::from(name);
    for (path, text, mode) in [(file, private.expose(), 0o600), (&*public_file, &*public, 0o644)] {
        let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let written = created.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let (file, public_file) = (file.display(), public_file.display());
    super::say(&format!(
        "The private half is in {file}, for idgate alone; the public half in {public_file}, which has to be kept as long as \
         receipts are to be verified.\n\nThe lines for the configuration. A key before this one goes on being published by \
         what is in [ ]:\n\n  [receipts]\n  key = {{ file = \"{file}\" }}\n  \
         former = [{{ public_key = \"PATH-OF-THE-KEY-BEFORE.pub\" }}]"
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
