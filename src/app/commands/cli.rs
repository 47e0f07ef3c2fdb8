//! The command line: commands and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use super::output::{say, tell};
use super::{healthcheck, key, ledger, probes, reconcile, sandbox, serve, verify};
use crate::app::config::production::WITHOUT_A_RECORD;
use crate::app::config::{DEFAULT, Mistakes, Sources};
use crate::app::descriptors::{self, Shares};

/// `EX_CONFIG` of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

/// Checks whether a name and a Chinese ID number belong together (身份证二要素核验), through several paid providers.
#[derive(Debug, Parser)]
#[command(name = "idgate", version, arg_required_else_help = true)]
pub struct Cli {
    /// A TOML file that overrides the embedded defaults. IDGATE_CONFIG does the same.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API with the configured providers.
    Serve,
    /// Serve the API with simulated providers on loopback. Needs no credentials and costs nothing.
    Sandbox(sandbox::Args),
    /// Check the configuration and report all mistakes. Exit code 78 if there are any.
    Check {
        /// Also connect to what the configuration names. No provider is called.
        #[arg(long)]
        connect: bool,
    },
    /// Print the embedded configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Verify one person with the configured providers, which may bill it, and print the answer.
    Verify(verify::Args),
    /// Make a key for a client or an operator, or the key that signs receipts.
    #[command(subcommand)]
    Key(key::Command),
    /// Check or export the ledger, the record of all answers and paid calls.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Compare a provider's usage export with the ledger. Exit code 0 if they agree, 1 if not, 2 if an input cannot be
    /// read.
    Reconcile(reconcile::Args),
    /// Print the OpenAPI document of the API (openapi.yaml).
    Openapi,
    /// Check that the gateway on this machine is alive. Exit code 0 if so, 1 if not.
    Healthcheck,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Print the defaults, which document every key.
    Default,
}

/// Parses the command line of this process and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            hide_values(&mut error);
            // clap reports --help and --version as errors too, but prints them to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    descriptors::raise_limit();
    let sources = Sources::of_process(cli.config);
    let done = match cli.command {
        Command::Serve => serve::run(&sources),
        Command::Sandbox(args) => sandbox::run(sources, &args),
        Command::Check { connect } => check(&sources, connect),
        Command::Config(ConfigCommand::Default) => say(DEFAULT.trim_end()).map(|()| ExitCode::SUCCESS),
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

/// Removes personal data from a usage error: a superfluous argument is often part of a name or an ID number, and
/// standard error ends up in logs. Misspelt options and commands stay.
fn hide_values(error: &mut clap::Error) {
    if error.get(ContextKind::InvalidValue).is_some_and(|value| *value != ContextValue::String(String::new())) {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        // As in our own help: `--listen <ADDR>`.
        let is_option = |text: &str| {
            let parts = text.strip_suffix('>').and_then(|text| text.split_once(" <"));
            let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            parts.is_some_and(|(flag, name)| flag.starts_with("--") && is_word(flag) && is_name(name))
        };
        let harmless = match error.get(kind) {
            Some(ContextValue::String(text)) => {
                is_word(text) && (text.starts_with('-') || kind != ContextKind::InvalidArg) || is_option(text)
            }
            _ => true,
        };
        if !harmless {
            error.remove(kind);
        }
    }
}

fn check(sources: &Sources, connects: bool) -> anyhow::Result<ExitCode> {
    let settings = sources.load()?;
    settings.check_folders()?;
    let order = settings.verify.chain.order.join(", ");
    say(&format!("the configuration is valid; providers are asked in this order: {order}"))?;
    let wanted = settings.server.connections.max_connections;
    if let Some(complaint) = Shares::of(descriptors::limit(), descriptors::to_providers(&settings), wanted).complaint()
    {
        say(&format!("note: with the limits of this shell, {complaint}"))?;
    }
    if settings.lacks_a_common_record() {
        say(&format!("warning: shared: {WITHOUT_A_RECORD}"))?;
    }
    let variables = sources.overriding_variables().join(", ");
    if !variables.is_empty() {
        say(&format!("these environment variables override the file: {variables}"))?;
    }
    if connects {
        return probes::run(&settings);
    }
    Ok(ExitCode::SUCCESS)
}

fn openapi() -> anyhow::Result<ExitCode> {
    let document = crate::server::openapi::yaml().map_err(anyhow::Error::from_boxed)?;
    say(document.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
