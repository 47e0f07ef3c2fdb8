//! `idgate verify NAME NUMBER`.

use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::Context;

use super::serve;
use crate::app::commands::output::say;
use crate::app::config::{Settings, Sources};
use crate::app::{Gateway, StartError, World, memory, telemetry};
use crate::domain::personal::Personal;
use crate::server::api::ask_locally;
use crate::server::http::access_log::AccessLog;
use crate::storage::ledger::OpenError;

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
    let running = how_to_ask(&settings);
    // Nothing is served, so any free ports will do.
    settings.server.listen.set_port(0);
    settings.server.admin_listen.set_port(0);
    serve::block_on(async {
        let world = World::real(AccessLog::nowhere());
        let ledger = crate::app::ledger(&settings, &world).await.map_err(|error| match error {
            // A second process would not see what the running one remembers and has reserved, and would pay again.
            StartError::Ledger(OpenError::InUse(file)) => anyhow::anyhow!(
                "the gateway that runs with ledger.file = {file:?} has it open; ask that one:\n{running}"
            ),
            error => error.into(),
        })?;
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

/// The command that asks a running gateway with these settings. This command has no key of a client, and the person is
/// not repeated, because standard error ends up in logs.
fn how_to_ask(settings: &Settings) -> String {
    let mut listen = settings.server.listen;
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let key = if settings.clients.is_empty() { "" } else { " -H 'Authorization: Bearer YOUR-KEY'" };
    format!(
        "  curl -s {scheme}://{listen}/v1/verify{key} -H 'Content-Type: application/json' \
         -d '{{\"name\":\"NAME\",\"id_number\":\"NUMBER\"}}'"
    )
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
