//! Another configuration for a process that goes on: read, check and build everything, then switch.
//!
//! All that can fail happens before the switch, away from the runtime's threads, and touches nothing that runs; the switch
//! cannot fail. What needs a restart is refused by name, never passed over. Invariants: reloads happen one after the other;
//! the last good configuration stays until another good one is there; what is logged names sections, never values.
//!
//! A new section is reloaded as soon as its settings are in [`Snapshot`](crate::server::snapshot::Snapshot), or in what
//! [`Prepared::switch`] reconfigures; if it can be neither, it belongs into [`Fixed`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::config::{Difference, Files, Found, Mistake, Mistakes, Sections, Settings, Sources};
use super::memory;
use super::snapshot::{snapshot, warn_of_expiry};
use crate::server::listener::TlsSwitch;
use crate::server::reload::{Asked, Outcome, Reloaded};
use crate::server::snapshot::Switch;
use crate::verify::{Deps, Runtime};

/// Replaces what runs. The only one who can.
#[derive(Debug)]
pub(super) struct Reloader {
    at_work: AtWork,
    asked: Asked,
    meter: IntCounterVec,
    sources: Option<Sources>,
    /// As they were when they were last read, whatever came of it.
    files: Files,
}

/// What runs now.
#[derive(Debug)]
pub(super) struct AtWork {
    pub(super) fixed: Fixed,
    pub(super) sections: Sections,
    pub(super) deps: Deps,
    pub(super) switch: Switch,
    /// The certificates of the listeners, by the section that they come from; none where a listener is plain.
    pub(super) tls: [(&'static str, Option<TlsSwitch>); 2],
    pub(super) poll: Duration,
}

/// The settings that only a restart changes, by key, as digests: what they stand for was bound or opened when the process
/// began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed(Vec<(&'static str, [u8; 32])>);

/// Everything that is needed to switch.
struct Prepared {
    live: Arc<Runtime>,
    settings: Settings,
}

impl Fixed {
    pub(super) fn of(settings: &Settings) -> Self {
        let print = |value: &dyn Debug| Sha256::digest(format!("{value:?}")).into();
        let server = &settings.server;
        let digest_key = settings.digest_key.as_ref().map(|key| Sha256::digest(key.expose()));
        Self(vec![
            ("profile", print(&settings.profile)),
            ("server.listen", print(&server.listen)),
            ("server.admin_listen", print(&server.admin_listen)),
            ("server.max_in_flight", print(&server.max_in_flight)),
            ("server.drain_notice", print(&server.drain_notice)),
            ("server.drain_timeout", print(&server.drain_timeout)),
            ("server.connections", print(&server.connections)),
            // Certificates may change; from plain to TLS is another listener.
            ("server.tls", print(&settings.tls.is_some())),
            ("server.admin_tls", print(&settings.admin_tls.is_some())),
            ("log", print(&settings.log)),
            ("cache.max_entries", print(&settings.cache.max_entries)),
            ("cache.digest_key", print(&digest_key)),
            ("ledger", print(&settings.ledger)),
        ])
    }

    /// A mistake for each that `next` has otherwise.
    fn mistakes(&self, next: &Self) -> Vec<Mistake> {
        let differ = self.0.iter().zip(&next.0).filter(|((_, one), (_, other))| one != other);
        let problem = "cannot change while the process runs; put it back, or restart";
        differ.map(|((key, _), _)| Mistake::new(*key, problem)).collect()
    }
}

impl Reloader {
    /// Without sources it never reloads.
    pub(super) fn new(at_work: AtWork, asked: Asked, registry: &Registry) -> Result<Self, prometheus::Error> {
        let meter =
            IntCounterVec::new(Opts::new("idgate_config_reloads_total", "Reloads of the configuration."), &["result"])?;
        registry.register(Box::new(meter.clone()))?;
        for result in ["success", "failure"] {
            meter.with_label_values(&[result]);
        }
        Ok(Self { at_work, asked, meter, sources: None, files: Files::default() })
    }

    /// Where to read from, and what was read so far.
    pub(super) fn read_from(&mut self, sources: Sources, files: Files) {
        self.sources = Some(sources);
        self.files = files;
    }

    /// Reloads whenever it is asked, or finds that a file has changed, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let Some(sources) = self.sources.take() else { return };
        loop {
            let asker = tokio::select! {
                () = stop.cancelled() => return,
                asker = self.asked.recv() => match asker {
                    Some(asker) => Some(asker),
                    None => return,
                },
                () = changed(&self.files, self.at_work.poll) => None,
            };
            self.reload(&sources, asker).await;
        }
    }

    async fn reload(&mut self, sources: &Sources, asker: Option<oneshot::Sender<Outcome>>) {
        let (sources, deps, before) =
            (sources.clone(), self.at_work.deps.clone(), Arc::clone(&self.at_work.switch.load().runtime));
        let fixed = self.at_work.fixed.clone();
        let reading = tokio::task::spawn_blocking(move || {
            memory::wiping(|| {
                let Found { files, settings } = sources.find();
                (files, settings.and_then(|settings| Prepared::build(settings, &fixed, &deps, &before)))
            })
        });
        let outcome = match reading.await {
            Ok((files, Ok(prepared))) => {
                self.files = files;
                let Deps { billing, ledger, .. } = &self.at_work.deps;
                match billing.reach_back(ledger, &prepared.settings.verify).await {
                    Ok(()) => Ok(self.switch(prepared)),
                    Err(error) => Err(Mistakes::one("ledger.file", &error.to_string())),
                }
            }
            Ok((files, Err(mistakes))) => {
                self.files = files;
                Err(mistakes)
            }
            Err(_) => Err(Mistakes::one("", "could not be read: a defect of this program, which changes nothing")),
        };
        let outcome = match outcome {
            Ok(difference) => {
                self.meter.with_label_values(&["success"]).inc();
                tracing::info!(%difference, "the configuration was reloaded");
                let Difference { added, changed, removed } = difference;
                Ok(Reloaded { added, changed, removed })
            }
            Err(mistakes) => {
                self.meter.with_label_values(&["failure"]).inc();
                let mistakes: Vec<_> = mistakes.0.iter().map(ToString::to_string).collect();
                tracing::error!(?mistakes, "the configuration has mistakes; the one before it stays");
                Err(mistakes)
            }
        };
        if let Some(asker) = asker {
            // Who has left does not want to know.
            let _ = asker.send(outcome);
        }
    }

    fn switch(&mut self, prepared: Prepared) -> Difference {
        let difference = self.at_work.sections.difference(&prepared.settings.sections);
        self.at_work.poll = prepared.settings.reload.poll;
        self.at_work.sections = prepared.settings.sections.clone();
        prepared.switch(&self.at_work);
        difference
    }
}

impl Prepared {
    /// All that can fail.
    fn build(settings: Settings, fixed: &Fixed, deps: &Deps, before: &Runtime) -> Result<Self, Mistakes> {
        let mistakes = fixed.mistakes(&Fixed::of(&settings));
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let live = Runtime::build(&settings.verify, deps, Some(before));
        let live = live.map_err(|error| Mistakes::one("", &error.to_string()))?;
        Ok(Self { live: Arc::new(live), settings })
    }

    /// All that cannot.
    fn switch(self, at_work: &AtWork) {
        let Self { live, mut settings } = self;
        let before = at_work.switch.load();
        at_work.deps.cache.reconfigure(settings.cache.clone());
        let certificates = [settings.tls.take(), settings.admin_tls.take()];
        for ((section, listener), tls) in at_work.tls.iter().zip(certificates) {
            if let (Some(listener), Some(tls)) = (listener, tls) {
                warn_of_expiry(section, &tls, at_work.deps.clock.now());
                listener.replace(tls);
            }
        }
        live.take_over(&settings.verify, &before.runtime);
        at_work.switch.replace(snapshot(live, settings, Some(&before.clients)));
    }
}

/// Returns when the files are not as they were; never, if they are not to be looked at.
async fn changed(files: &Files, poll: Duration) {
    if poll.is_zero() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(poll).await;
        let as_read = files.clone();
        // A thread that is gone was stopped with the runtime.
        let again = tokio::task::spawn_blocking(move || memory::wiping(|| as_read.again() != as_read)).await;
        if again.unwrap_or(false) {
            return;
        }
    }
}
