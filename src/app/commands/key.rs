//! `idgate key new CLIENT`, with `--kind` for the keys of providers' protocols, `idgate key new --operator NAME`, and
//! `idgate key new --receipts FILE`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::builder::{PossibleValue, PossibleValuesParser};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use sha2::{Digest, Sha256};

use crate::app::commands::output::say;
use crate::providers::{Issued, Scheme, schemes};
use crate::server::auth::key_config::KEY_PREFIX;
use crate::server::records::receipt::keys::Pair;

/// The prefix of our public ids, which distinguishes them from a provider's.
const ID_PREFIX: &str = "IDG";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a new key. Prints it once, with the lines for the configuration.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The name of the client: lower-case letters, digits and _.
    #[arg(required_unless_present_any = ["operator", "receipts"], conflicts_with_all = ["operator", "receipts"])]
    client: Option<String>,
    /// Make a key for the operator NAME, not for a client.
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    operator: Option<String>,
    /// Makes the key that signs receipts instead: the private half in FILE, which must not be there yet, the public
    /// half in FILE.pub.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operator", "kind", "expires"])]
    receipts: Option<PathBuf>,
    /// The kind of key. All but `key` are for callers that use a provider's protocol.
    #[arg(long, value_parser = kinds(), default_value = OUR_OWN)]
    kind: String,
    /// When the key expires: a date in China (2027-01-01) or a time (2027-01-01T00:00:00Z).
    #[arg(long, value_name = "DATE", value_parser = end_after_now)]
    expires: Option<Timestamp>,
}

/// A bearer key for idgate's own API.
const OUR_OWN: &str = "key";

/// The kinds of key: our own, and those of the drivers.
fn kinds() -> PossibleValuesParser {
    let our_own = PossibleValue::new(OUR_OWN).help("A bearer key of our own API");
    let of_drivers = schemes().into_iter().map(|scheme| PossibleValue::new(scheme.name).help(scheme.title));
    std::iter::once(our_own).chain(of_drivers).collect::<Vec<_>>().into()
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New(New { client, operator, receipts, kind, expires }) = command;
    if let Some(file) = receipts {
        return new_receipts_key(file);
    }
    let name = operator.as_ref().or(client.as_ref()).map(String::as_str).unwrap_or_default();
    anyhow::ensure!(
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "the name may contain only lower-case letters, digits and _"
    );
    let section = if operator.is_some() { "operators" } else { "clients" };
    let expires = expires.map(|end| format!(", expires = \"{end}\"")).unwrap_or_default();
    let scheme = schemes().into_iter().find(|scheme| scheme.name == kind);
    say(&match scheme {
        None => {
            let holder = if operator.is_some() { "operator" } else { "caller" };
            by_its_hash(("The key", holder), section, name, "keys", &expires)?
        }
        Some(Scheme { is_bearer: true, issued, .. }) => {
            by_its_hash((&format!("The {}", issued.secret_label), "caller"), section, name, issued.list, &expires)?
        }
        Some(scheme) => pair(scheme, name, &expires)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A bearer secret: we keep only its SHA-256.
fn by_its_hash(
    (what, holder): (&str, &str),
    section: &str,
    name: &str,
    list: &str,
    expires: &str,
) -> anyhow::Result<String> {
    let key = new_key()?;
    let hash = hex::encode(Sha256::digest(&key));
    let id = format!("{name}-{}", hash.get(..8).unwrap_or_default());
    Ok(format!(
        "{what}. It is shown only once; give it to the {holder}:\n\n  {key}\n\n\
         Add these lines to the configuration (they contain only the SHA-256). If there is an old key, add the part \
         in [ ] to its list:\n\n  \
         [{section}.{name}]\n  {list} = [{{ id = \"{id}\", sha256 = \"{hash}\"{expires} }}]"
    ))
}

/// A signing pair: we need the secret itself, so it belongs in a file.
fn pair(scheme: &Scheme, name: &str, expires: &str) -> anyhow::Result<String> {
    let Issued { list, id: member, id_label: public, secret_label: secret, .. } = scheme.issued;
    let file = scheme.name.replace('-', "_");
    let [id, key] = [new_id()?, new_key()?];
    let width = secret.len().max(public.len()) + 1;
    let [public, secret] = [public, secret].map(|what| format!("{what}:"));
    Ok(format!(
        "The key pair. The secret is shown only once; give both to the caller:\n\n  {public:width$} {id}\n  \
         {secret:width$} {key}\n\n\
         Put the secret into a file that only idgate can read, such as the one below. Then add these lines to the \
         configuration. If there is an old pair, add the part in [ ] to its list:\n\n  \
         [clients.{name}]\n  {list} = [{{ {member} = \"{id}\", secret = {{ file = \"/run/secrets/{name}_{file}\" \
         }}{expires} }}]"
    ))
}

fn new_receipts_key(file: &Path) -> anyhow::Result<ExitCode> {
    let Pair { private, public } = Pair::new().context("the operating system provides no random bytes")?;
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    let public_file = PathBuf::from(name);
    for (path, text, mode) in [(file, private.expose(), 0o600), (&*public_file, &*public, 0o644)] {
        let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let written = created.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written
            .with_context(|| format!("{} cannot be written; give a path that does not exist yet", path.display()))?;
    }
    let (file, public_file) = (file.display(), public_file.display());
    say(&format!(
        "The private half is in {file}; only idgate may read it. The public half is in {public_file}; keep it for as \
         long as receipts must be verifiable.\n\nAdd these lines to the configuration. `former` keeps the previous \
         key published; leave it out if there is none:\n\n  [receipts]\n  key = {{ file = \"{file}\" }}\n  \
         former = [{{ public_key = \"PATH-OF-THE-PREVIOUS-KEY.pub\" }}]"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The end of a key's life, which must lie ahead.
fn end_after_now(text: &str) -> Result<Timestamp, String> {
    #[expect(clippy::disallowed_methods, reason = "the command line is the outside world")]
    end(text, Timestamp::now())
}

/// A time, or the start of a day in China.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let day = || text.parse::<Date>().ok()?.at(0, 0, 0, 0).to_zoned(Offset::constant(8).to_time_zone()).ok();
    let time = text.parse().ok().or_else(|| day().map(|begins| begins.timestamp()));
    let time = time.ok_or_else(|| "is not a date; write 2027-01-01 or 2027-01-01T00:00:00Z".to_owned())?;
    if time <= now {
        Err("is in the past, so the key would never work; write a later date".to_owned())
    } else {
        Ok(time)
    }
}

/// 32 bytes from the operating system.
fn new_key() -> anyhow::Result<String> {
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?)))
}

/// The public half of a pair. 80 random bits make collisions negligible.
fn new_id() -> anyhow::Result<String> {
    Ok(random_bytes::<10>()?.iter().fold(ID_PREFIX.to_owned(), |id, byte| format!("{id}{byte:02X}")))
}

fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_china_and_a_time_is_a_time() {
        let now = "2026-11-28T00:00:00Z".parse().unwrap();
        let end = |text: &str| end(text, now);
        let written = |text: &str| end(text).map(|time| time.to_string());
        assert_eq!(written("2027-01-01").as_deref(), Ok("2026-12-31T16:00:00Z"));
        assert_eq!(written("2027-01-01T00:00:00Z").as_deref(), Ok("2027-01-01T00:00:00Z"));
        assert!(written("tomorrow").is_err() && written("2027-02-30").is_err());
        assert!(written("2026-11-27").is_err_and(|told| told.contains("in the past")));
    }
}
