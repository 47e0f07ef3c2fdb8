//! `idgate verify NAME NUMBER`.

use std::io::BufRead;
use std::process::ExitCode;

use anyhow::Context;

use super::serve;
use crate::app::commands::output::say;
use crate::app::config::Sources;
use crate::app::{Gateway, World, memory, telemetry};
use crate::domain::personal::Personal;
use crate::server::api::ask_locally;
use crate::server::http::access_log::AccessLog;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name as on the ID card. `-` reads name and number from two lines of standard input, invisible to other
    /// users.
    name: String,
    /// The ID number: 18 characters. Old numbers with 15 digits are converted.
    #[arg(default_value = "")]
    number: String,
}

pub(super) fn run(sources: &Sources, args: &Args) -> anyhow::Result<ExitCode> {
    let mut settings = sources.load()?;
    memory::forbid_dumps(settings.profile)?;
    telemetry::start(&settings.log)?;
    let (name, number) = if args.name == "-" { from_stdin()? } else { (args.name.clone(), args.number.clone()) };
    // Nothing is served, so any free ports will do.
    settings.server.listen.set_port(0);
    settings.server.admin_listen.set_port(0);
    serve::block_on(async {
        let world = World::real(AccessLog::nowhere());
        let ledger = crate::app::ledger(&settings, &world).await?;
        let gateway = Gateway::bind(settings, world, ledger)?;
        let verify = gateway.verify();
        let answer = ask_locally(verify, Personal::new(name), Personal::new(number)).await;
        verify.pipeline.ledger.close().await;
        match answer {
            Ok(reply) => {
                say(&serde_json::to_string_pretty(&reply)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(problem) => {
                say(&serde_json::to_string_pretty(&problem)?)?;
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

fn from_stdin() -> anyhow::Result<(String, String)> {
    let mut lines = std::io::stdin().lock().lines();
    let mut next = |what: &'static str| {
        lines
            .next()
            .transpose()?
            .with_context(|| format!("standard input has no {what}; write the name and the number on two lines"))
    };
    Ok((next("name (first line)")?, next("number (second line)")?))
}
