//! The command line: its words, what each runs, and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use super::output::{say, tell};
use super::{healthcheck, key, ledger, reconcile, sandbox, serve, verify};
use crate::app::config::{Mistakes, Sources};

/// A configuration that cannot be used (sysexits' EX_CONFIG).
const WRONG_CONFIGURATION: u8 = 78;

/// Do this name and this Chinese ID number belong together?
#[derive(Debug, Parser)]
#[command(name = "idgate", version, arg_required_else_help = true)]
pub struct Cli {
    /// A TOML file over the embedded defaults; IDGATE_CONFIG does the same.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve with the configured providers.
    Serve,
    /// Serve with everything embedded: simulators of all providers on loopback, no credentials.
    Sandbox(sandbox::Args),
    /// Read the configuration and report all mistakes.
    Check,
    /// Ask one question with the configured providers (it may be billed) and print the answer.
    Verify(verify::Args),
    /// Make a key: for a client, for an operator, or the one that signs receipts.
    #[command(subcommand)]
    Key(key::Command),
    /// Check or export what was answered and paid.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Compare a provider's usage export with the ledger. Exit code 0 if it balances, 1 if not, 2 if it cannot be told.
    Reconcile(reconcile::Args),
    /// Print the API as an OpenAPI document (openapi.yaml).
    Openapi,
    /// Ask the running gateway on this machine whether it is alive; exit code 0 if so.
    Healthcheck,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            hide_values(&mut error);
            // Help and version are asked for; anything else is wrong usage.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let sources = Sources::of_process(cli.config);
    let done = match cli.command {
        Command::Serve => serve::run(&sources),
        Command::Sandbox(args) => sandbox::run(sources, &args),
        Command::Check => check(&sources),
        Command::Verify(args) => verify::run(&sources, &args),
        Command::Key(command) => key::run(&command),
        Command::Ledger(command) => ledger::run(&sources, command),
        Command::Reconcile(args) => reconcile::run(&sources, args),
        Command::Openapi => openapi(),
        Command::Healthcheck => healthcheck::run(&sources),
    };
    done.unwrap_or_else(|error| {
        tell(&error);
        match error.downcast_ref::<Mistakes>() {
            Some(_) => ExitCode::from(WRONG_CONFIGURATION),
            None => ExitCode::FAILURE,
        }
    })
}

/// An argument too many is often a part of a name, or the number: it must not be repeated on standard error, which
/// ends up in logs. Misspelt options and commands may be.
fn hide_values(error: &mut clap::Error) {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let harmless = match error.get(kind) {
            Some(ContextValue::String(text)) => {
                is_word(text) && (text.starts_with('-') || kind != ContextKind::InvalidArg)
            }
            _ => true,
        };
        if !harmless {
            error.remove(kind);
        }
    }
}

fn check(sources: &Sources) -> anyhow::Result<ExitCode> {
    let settings = sources.load()?;
    let order = settings.verify.chain.order.join(", ");
    say(&format!("the configuration is good; asked in this order: {order}"));
    Ok(ExitCode::SUCCESS)
}

fn openapi() -> anyhow::Result<ExitCode> {
    let document = crate::server::openapi::yaml().map_err(anyhow::Error::from_boxed)?;
    say(document.trim_end());
    Ok(ExitCode::SUCCESS)
}
