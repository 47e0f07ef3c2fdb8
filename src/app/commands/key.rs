//! `idgate key new CLIENT`.

use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::server::api::auth::KEY_PREFIX;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints a new key, once, and the line for the configuration.
    New {
        /// The client's name: lower-case letters, digits and _.
        client: String,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New { client } = command;
    anyhow::ensure!(
        !client.is_empty() && client.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "the client's name may hold lower-case letters, digits and _ only"
    );
    let key = new_key()?;
    let hash: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{client}-{}", hash.get(..8).unwrap_or_default());
    super::say(&format!(
        "The key, shown this once; give it to the caller:\n\n  {key}\n\n\
         The lines for the configuration; they hold only its SHA-256:\n\n  \
         [clients.{client}]\n  keys = [{{ id = \"{id}\", sha256 = \"{hash}\" }}]"
    ));
    Ok(ExitCode::SUCCESS)
}

/// 32 bytes from the operating system.
fn new_key() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}
