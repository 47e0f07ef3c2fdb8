//! `idgate check --connect`: asks each service that the configuration names whether it can be used.

use std::process::ExitCode;

use super::output::say;
use super::serve;
use crate::app::World;
use crate::app::config::Settings;
use crate::server::http::access_log::AccessLog;
use crate::storage::ledger::postgres;
use crate::storage::shared::{self, Finding};

/// What came of one probe: what answers, or what is wrong.
type Probed = Result<String, String>;

/// Runs every probe, also after one has failed. A mistake is reported as one of the configuration.
pub(super) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    serve::block_on(async {
        let probed = probes(settings).await;
        if probed.is_empty() {
            say("there is nothing to connect to: neither [shared] nor [ledger.postgres] is configured")?;
        }
        for (key, probed) in &probed {
            match probed {
                Ok(told) => say(&format!("{key}: {told}"))?,
                Err(told) => say(&format!("{key}: MISTAKE: {told}"))?,
            }
        }
        Ok(if probed.iter().all(|(_, probed)| probed.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(78) })
    })
}

async fn probes(settings: &Settings) -> Vec<(&'static str, Probed)> {
    let clock = World::real(AccessLog::nowhere()).clock;
    let mut probes = Vec::new();
    if let Some(config) = &settings.shared {
        let findings = shared::probe(config, || clock.now()).await;
        let probed = |finding: Finding| if finding.is_mistake { Err(finding.text) } else { Ok(finding.text) };
        probes.extend(findings.into_iter().map(|finding| ("shared.redis", probed(finding))));
    }
    if let Some(config) = &settings.ledger.postgres {
        let probed = postgres::probe(config, &clock).await;
        probes.push(("ledger.postgres", probed.map_err(|error| error.to_string())));
    }
    probes
}
