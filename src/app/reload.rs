//! Reloads: read, check and build everything, then switch.
//!
//! Everything that can fail happens before the switch, on a blocking thread, and changes nothing that runs. The switch
//! cannot fail. A change that needs a restart is refused, and the message names the key. Invariants: reloads run one at
//! a time; the current configuration stays until a valid one replaces it; logs name sections, never values.
//!
//! A new section is reloaded if its settings are in [`Snapshot`](crate::server::snapshot::Snapshot), or if
//! [`Prepared::switch`] applies them. Otherwise it belongs in [`Fixed`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::config::{Difference, Files, Found, Mistake, Mistakes, Sections, Settings, Sources};
use super::file_reader::FileReader;
use super::snapshot::{description, snapshot, warn_of_expiry};
use crate::domain::clock::Clock;
use crate::server::http::code::Code;
use crate::server::listener::TlsSwitch;
use crate::server::reload::{Asked, Outcome, Reloaded, Wanted};
use crate::server::snapshot::Switch;
use crate::storage::ledger::Operation;
use crate::verify::{Deps, Runtime};

/// Replaces the running configuration.
#[derive(Debug)]
pub(super) struct Reloader {
    running: Running,
    asked: Asked,
    meter: IntCounterVec,
    sources: Option<Sources>,
    watch: Watch,
}

/// The files of the configuration, and the thread that reads them.
#[derive(Debug)]
struct Watch {
    /// As last read, even if their content was refused.
    files: Files,
    reader: FileReader,
    clock: Clock,
    /// When all files were last looked at, in Unix time.
    checked: IntGauge,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) fixed: Fixed,
    pub(super) sections: Sections,
    pub(super) deps: Deps,
    pub(super) switch: Switch,
    /// The certificates of the listeners, by section; `None` for plain HTTP.
    pub(super) tls: [(&'static str, Option<TlsSwitch>); 2],
    pub(super) poll: Duration,
}

/// Digests of the settings that only a restart can change, because they were used to bind or open something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    settings: Vec<(&'static str, [u8; 32])>,
    /// Sections without which anybody would be let in, and whether there is any. A file that was cut off has none.
    guards: [(&'static str, bool); 2],
}

/// Confirms a change of the files once two polls in a row have found the same: a file may be half-written.
#[derive(Debug)]
struct Debounce {
    as_read: Files,
    last: Files,
}

/// A new configuration, ready to switch to.
struct Prepared {
    runtime: Arc<Runtime>,
    settings: Settings,
}

impl Fixed {
    pub(super) fn of(settings: &Settings) -> Self {
        let print = |value: &dyn Debug| Sha256::digest(format!("{value:?}")).into();
        let server = &settings.server;
        let digest_key = settings.digest_key.as_ref().map(|key| Sha256::digest(key.expose()));
        let headers = settings.tracing.iter().flat_map(|tracing| &tracing.headers);
        let headers: Vec<_> = headers.map(|(_, value)| Sha256::digest(value.expose())).collect();
        let guards = [("clients", !settings.clients.is_empty()), ("operators", !settings.operators.is_empty())];
        let settings = vec![
            ("profile", print(&settings.profile)),
            ("server.listen", print(&server.listen)),
            ("server.admin_listen", print(&server.admin_listen)),
            ("server.max_in_flight", print(&server.max_in_flight)),
            ("server.drain_notice", print(&server.drain_notice)),
            ("server.drain_timeout", print(&server.drain_timeout)),
            ("server.connections", print(&server.connections)),
            // Certificates may change, but a change between plain HTTP and TLS needs another listener.
            ("server.tls", print(&settings.tls.is_some())),
            ("server.admin_tls", print(&settings.admin_tls.is_some())),
            ("log", print(&settings.log)),
            ("tracing", print(&(&settings.tracing, headers))),
            ("cache.max_entries", print(&settings.cache.max_entries)),
            ("cache.digest_key", print(&digest_key)),
            ("ledger", print(&settings.ledger)),
            // Not its password, which may change.
            ("shared", print(&settings.shared)),
            ("replica", print(&settings.replica)),
            ("console", print(&settings.console)),
        ];
        Self { settings, guards }
    }

    /// A mistake for each setting that differs in `next`, and for each guard that it lacks.
    fn mistakes(&self, next: &Self) -> Vec<Mistake> {
        let differ = self.settings.iter().zip(&next.settings).filter(|((_, one), (_, other))| one != other);
        let problem = "cannot change while the process runs; put it back, or restart";
        let differ = differ.map(|((key, _), _)| Mistake::new(*key, problem));
        let lost = self.guards.iter().zip(&next.guards).filter(|((_, before), (_, after))| *before && !after);
        let lost = lost.map(|((key, _), _)| {
            let problem = format!("has no section left, so anybody would be let in; put [{key}.NAME] back, or restart");
            Mistake::new(*key, problem)
        });
        differ.chain(lost).collect()
    }
}

impl Reloader {
    /// Does not reload until [`Self::read_from`] has set the sources.
    pub(super) fn new(running: Running, asked: Asked, registry: &Registry) -> Result<Self, prometheus::Error> {
        let meter =
            IntCounterVec::new(Opts::new("idgate_config_reloads_total", "Reloads of the configuration."), &["result"])?;
        registry.register(Box::new(meter.clone()))?;
        for result in ["success", "failure"] {
            meter.with_label_values(&[result]);
        }
        let checked = IntGauge::new(
            "idgate_config_checked_timestamp_seconds",
            "When all files of the configuration were last looked at, in Unix time; 0 without a reload.poll.",
        )?;
        registry.register(Box::new(checked.clone()))?;
        let clock = running.deps.clock.clone();
        let watch = Watch { files: Files::default(), reader: FileReader::default(), clock, checked };
        Ok(Self { running, asked, meter, sources: None, watch })
    }

    /// Sets the sources, and the files as they were read at the start.
    pub(super) fn read_from(&mut self, sources: Sources, files: Files) {
        self.sources = Some(sources);
        self.watch.files = files;
        self.watch.has_checked(self.running.poll);
    }

    /// Reloads on request, or when a file has changed, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let Some(sources) = self.sources.take() else { return };
        loop {
            let (asker, seen) = tokio::select! {
                () = stop.cancelled() => return,
                asker = self.asked.recv() => match asker {
                    Some(asker) => (Some(asker), None),
                    None => return,
                },
                seen = self.watch.changed(self.running.poll) => (None, Some(seen)),
            };
            // The end of the process must not wait for a file.
            if stop.run_until_cancelled(self.reload(&sources, asker, seen)).await.is_none() {
                return;
            }
        }
    }

    /// `seen` is what a poll believes; if the files have changed again since, it is left to the next poll.
    async fn reload(&mut self, sources: &Sources, asker: Option<Wanted>, seen: Option<Files>) {
        let (sources, deps, before) =
            (sources.clone(), self.running.deps.clone(), Arc::clone(&self.running.switch.load().runtime));
        let fixed = self.running.fixed.clone();
        let read = self.watch.reader.run(move |reading| {
            let Found { files, settings } = sources.find_noted(reading);
            (files, settings.and_then(|settings| Prepared::build(settings, &fixed, &deps, &before)))
        });
        let read = read.await;
        if read.is_ok() {
            self.watch.has_checked(self.running.poll);
        }
        let outcome = match read {
            Ok((files, _)) if seen.is_some_and(|seen| !seen.agrees_with(&files)) => return,
            Ok((files, Ok(prepared))) => {
                self.watch.files = files;
                let Deps { billing, ledger, .. } = &self.running.deps;
                match billing.reach_back(ledger, &prepared.settings.verify).await {
                    Ok(()) => Ok(self.switch(prepared)),
                    Err(error) => Err(Mistakes::one("ledger.file", &error.to_string())),
                }
            }
            Ok((files, Err(mistakes))) => {
                self.watch.files = files;
                Err(mistakes)
            }
            Err(failure) => Err(Mistakes::one("", &failure.to_string())),
        };
        let outcome = match outcome {
            Ok(difference) => {
                self.meter.with_label_values(&["success"]).inc();
                tracing::info!(%difference, "the configuration was reloaded");
                if !difference.removed.is_empty() {
                    let removed = difference.removed.join(", ");
                    tracing::warn!(
                        removed,
                        "sections were removed from the configuration; put them back if this was an accident"
                    );
                }
                let Difference { added, changed, removed } = difference;
                Ok(Reloaded { added, changed, removed })
            }
            Err(mistakes) => {
                self.meter.with_label_values(&["failure"]).inc();
                let mistakes: Vec<_> = mistakes.0.iter().map(ToString::to_string).collect();
                tracing::error!(
                    ?mistakes,
                    "the configuration has mistakes; correct them; the previous one stays in force"
                );
                Err(mistakes)
            }
        };
        let (by, reason) = match &asker {
            Some(Wanted { by, reason, .. }) => (&**by, reason.clone()),
            None => ("file", None),
        };
        self.record(by, reason, &outcome).await;
        if let Some(Wanted { answer, .. }) = asker {
            // The requester may be gone.
            let _ = answer.send(outcome);
        }
    }

    async fn record(&self, by: &str, reason: Option<String>, outcome: &Outcome) {
        let (outcome, sections) = match outcome {
            Ok(Reloaded { added, changed, removed }) => ("reloaded", [&**added, changed, removed].concat()),
            Err(_) => (Code::InvalidConfiguration.as_str(), Vec::new()),
        };
        let operation = |id, at_ms| Operation {
            id,
            at_ms,
            outcome: outcome.to_owned(),
            action: "reload".to_owned(),
            operator: by.to_owned(),
            reason,
            sections,
            ..Operation::default()
        };
        self.running.deps.ledger.record(operation).await;
    }

    fn switch(&mut self, prepared: Prepared) -> Difference {
        let difference = self.running.sections.difference(&prepared.settings.sections);
        self.running.poll = prepared.settings.reload.poll;
        self.running.fixed = Fixed::of(&prepared.settings);
        self.running.sections = prepared.settings.sections.clone();
        prepared.switch(&self.running);
        difference
    }
}

impl Prepared {
    /// Does everything that can fail.
    fn build(settings: Settings, fixed: &Fixed, deps: &Deps, before: &Runtime) -> Result<Self, Mistakes> {
        let mistakes = fixed.mistakes(&Fixed::of(&settings));
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let runtime = Runtime::build(&settings.verify, deps, Some(before));
        let runtime = runtime.map_err(|error| Mistakes::one("", &error.to_string()))?;
        Ok(Self { runtime: Arc::new(runtime), settings })
    }

    /// Applies the configuration. Cannot fail.
    fn switch(self, running: &Running) {
        let Self { runtime, mut settings } = self;
        let before = running.switch.load();
        running.deps.cache.reconfigure(settings.cache.clone());
        let certificates = [settings.tls.take(), settings.admin_tls.take()];
        for ((section, listener), tls) in running.tls.iter().zip(certificates) {
            if let (Some(listener), Some(tls)) = (listener, tls) {
                warn_of_expiry(section, &tls, running.deps.clock.wall());
                listener.replace(tls);
            }
        }
        if let Some(shared) = &settings.shared {
            running.deps.shared.replace_password(&shared.password);
        }
        running.deps.shared.describe(&description(&settings.sections));
        runtime.take_over(&settings.verify, &before.runtime);
        running.switch.replace(snapshot(runtime, settings, &running.deps.shared, Some(&before.clients)));
    }
}

impl Debounce {
    fn new(as_read: &Files) -> Self {
        Self { as_read: as_read.clone(), last: as_read.clone() }
    }

    /// Adds a look. True if it shows a change, and the same as the one before.
    fn confirm(&mut self, now: &Files) -> bool {
        let is_confirmed = *now != self.as_read && *now == self.last;
        self.last = now.clone();
        is_confirmed
    }
}

impl Watch {
    /// Returns what the files contain when that has changed. Never returns if polling is disabled.
    async fn changed(&mut self, poll: Duration) -> Files {
        if poll.is_zero() {
            return std::future::pending().await;
        }
        let mut debounce = Debounce::new(&self.files);
        loop {
            tokio::time::sleep(poll).await;
            let as_read = self.files.clone();
            match self.reader.run(move |reading| as_read.again(reading)).await {
                Ok(now) => {
                    self.has_checked(poll);
                    if debounce.confirm(&now) {
                        return now;
                    }
                }
                Err(failure) => tracing::error!(%failure, "changes of the configuration go unnoticed"),
            }
        }
    }

    fn has_checked(&self, poll: Duration) {
        self.checked.set(if poll.is_zero() { 0 } else { self.clock.wall().as_second() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_believes_only_what_two_looks_in_a_row_agree_on() {
        let [before, half, whole] = ["before", "half", "whole"].map(|content| Files::of("idgate.toml", content));
        let mut debounce = Debounce::new(&before);
        assert!(!debounce.confirm(&before) && !debounce.confirm(&before), "nothing has changed");
        assert!(!debounce.confirm(&half) && !debounce.confirm(&whole), "still being written");
        assert!(debounce.confirm(&whole));
        let mut debounce = Debounce::new(&before);
        assert!(
            !debounce.confirm(&half) && !debounce.confirm(&before) && !debounce.confirm(&half),
            "put back meanwhile"
        );
        assert!(half.agrees_with(&half) && !half.agrees_with(&whole));
    }
}
