//! What providers' names resolve to, remembered: a name server that is slow or down costs no question.
//!
//! An address is used without asking for `fresh`. After that the name is looked up again, and as long as the old answer
//! is younger than `stale` it stands in when the look-up fails or takes long. Invariants: a name has at most one
//! look-up under way, whoever waits for it; a look-up that nobody waits for any more still brings its answer home; the
//! table is bounded. Only addresses are chosen here; who answers there must still show its certificate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::settings::Family;

/// So long a question waits for a new answer where an old one would do.
const PATIENCE: Duration = Duration::from_millis(250);

/// So long a name is not looked up again after that failed, where an old answer stands in.
const PAUSE: Duration = Duration::from_secs(1);

/// The configuration names a handful. The oldest goes first.
const MOST_NAMES: usize = 256;

/// More addresses than anybody tries in the time of one connection.
const MOST_ADDRESSES: usize = 16;

/// The longest of the times here. An address that is older belongs to somebody else.
const LONGEST: Duration = Duration::from_hours(24);

/// Section `[dns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// For so long an answer is used without asking again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub fresh: Duration,
    /// For so long it stands in when a new one cannot be had.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub stale: Duration,
}

/// Who knows the addresses of a name. It may block: it is asked where that disturbs nobody.
pub trait LookUp: fmt::Debug + Send + Sync {
    /// All addresses of `host`, in the order in which to try them.
    ///
    /// # Errors
    /// When there are none, or nobody can be asked.
    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver: `/etc/hosts`, then the configured name servers.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// The table of names.
#[derive(Debug)]
pub struct Names {
    look_up: Arc<dyn LookUp>,
    state: Mutex<State>,
    meter: Meter,
}

/// A name has no address, as far as anybody can tell now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name cannot be resolved")]
pub struct Unresolved;

#[derive(Debug)]
struct State {
    times: Config,
    hosts: HashMap<Arc<str>, Host>,
}

#[derive(Debug, Default)]
struct Host {
    known: Option<Known>,
    failed: Option<Instant>,
    under_way: Option<Arc<Landing>>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Arc<[IpAddr]>,
    since: Instant,
}

type Landing = SetOnce<Result<Arc<[IpAddr]>, Unresolved>>;

#[derive(Debug, Clone)]
struct Meter {
    fresh: IntCounter,
    cached: IntCounter,
    stale: IntCounter,
    failed: IntCounter,
}

/// What a question finds in the table.
enum Look {
    Cached(Arc<[IpAddr]>),
    Stale(Arc<[IpAddr]>),
    Wait { landing: Arc<Landing>, instead: Option<Arc<[IpAddr]>> },
}

/// One client's view of the table: the addresses of its families.
#[derive(Debug)]
pub(in crate::verify) struct Resolver {
    pub(in crate::verify) names: Arc<Names>,
    pub(in crate::verify) family: Family,
}

/// Owned by the look-up: whatever becomes of it, those who wait hear of it.
struct Pilot {
    names: Arc<Names>,
    host: Arc<str>,
    landing: Arc<Landing>,
}

impl Default for Config {
    fn default() -> Self {
        Self { fresh: Duration::from_secs(30), stale: Duration::from_mins(10) }
    }
}

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.stale < self.fresh {
            mistakes.push(("stale", "is shorter than dns.fresh; write \"10m\"".to_owned()));
        }
        if self.stale > LONGEST {
            mistakes
                .push(("stale", "is longer than a day, when addresses have other owners; write \"10m\"".to_owned()));
        }
        mistakes
    }
}

impl LookUp for System {
    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

impl Names {
    /// An empty table over `look_up`, its counters in `registry`.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn new(look_up: Arc<dyn LookUp>, registry: &Registry) -> Result<Self, prometheus::Error> {
        let lookups = IntCounterVec::new(
            Opts::new(
                "idgate_dns_lookups_total",
                "Names resolved for a new connection, by where the answer came from.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(lookups.clone()))?;
        let counter = |result: &str| lookups.with_label_values(&[result]);
        let meter = Meter {
            fresh: counter("fresh"),
            cached: counter("cached"),
            stale: counter("stale"),
            failed: counter("failed"),
        };
        Ok(Self { look_up, state: Mutex::new(State { times: Config::default(), hosts: HashMap::new() }), meter })
    }

    /// From now on answers are kept as `times` say, those too that are known already.
    pub(in crate::verify) fn keep_for(&self, times: Config) {
        self.lock().times = times;
    }

    /// The addresses of `host`, at least one.
    ///
    /// # Errors
    /// When it cannot be resolved and no answer is young enough to stand in.
    async fn resolve(self: &Arc<Self>, host: &str) -> Result<Arc<[IpAddr]>, Unresolved> {
        let (landing, instead) = match self.look(host) {
            Look::Cached(addresses) => {
                self.meter.cached.inc();
                return Ok(addresses);
            }
            Look::Stale(addresses) => {
                self.meter.stale.inc();
                return Ok(addresses);
            }
            Look::Wait { landing, instead } => (landing, instead),
        };
        let Some(instead) = instead else {
            let result = landing.wait().await.clone();
            if result.is_ok() { &self.meter.fresh } else { &self.meter.failed }.inc();
            return result;
        };
        match tokio::time::timeout(PATIENCE, landing.wait()).await {
            Ok(Ok(addresses)) => {
                self.meter.fresh.inc();
                Ok(Arc::clone(addresses))
            }
            Ok(Err(_)) | Err(_) => {
                self.meter.stale.inc();
                Ok(instead)
            }
        }
    }

    fn look(self: &Arc<Self>, host: &str) -> Look {
        let now = Instant::now();
        let mut state = self.lock();
        let times = state.times;
        let place = state.place(host);
        let known = place.known.as_ref().map(|known| (&known.addresses, now.duration_since(known.since)));
        if let Some((addresses, _)) = known.filter(|(_, age)| *age < times.fresh) {
            return Look::Cached(Arc::clone(addresses));
        }
        let instead = known.filter(|(_, age)| *age < times.stale).map(|(addresses, _)| Arc::clone(addresses));
        if let Some(addresses) = &instead
            && place.failed.is_some_and(|failed| now.duration_since(failed) < PAUSE)
        {
            return Look::Stale(Arc::clone(addresses));
        }
        let landing = match &place.under_way {
            Some(landing) => Arc::clone(landing),
            None => {
                let landing = Arc::clone(place.under_way.insert(Arc::default()));
                let pilot = Pilot { names: Arc::clone(self), host: Arc::from(host), landing: Arc::clone(&landing) };
                // Its own thread, because the operating system's resolver blocks, and nobody's leaving ends it.
                drop(tokio::task::spawn_blocking(move || pilot.fly()));
                landing
            }
        };
        Look::Wait { landing, instead }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, host: &str) -> &mut Host {
        if self.hosts.len() >= MOST_NAMES && !self.hosts.contains_key(host) {
            // One under way is found again when it lands, and is then the youngest.
            let oldest = self.hosts.iter().min_by_key(|(_, host)| host.known.as_ref().map(|known| known.since));
            if let Some(name) = oldest.map(|(name, _)| Arc::clone(name)) {
                self.hosts.remove(&name);
            }
        }
        match self.hosts.entry(Arc::from(host)) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert(Host::default()),
        }
    }
}

impl Pilot {
    fn fly(self) {
        let found = self.names.look_up.look_up(&self.host);
        let mut addresses = found.unwrap_or_default();
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() {
            // Landed by being dropped.
            tracing::warn!(host = &*self.host, "a provider's name cannot be resolved");
        } else {
            self.land(Ok(addresses.into()));
        }
    }

    fn land(&self, result: Result<Arc<[IpAddr]>, Unresolved>) {
        let now = Instant::now();
        let mut state = self.names.lock();
        let place = state.place(&self.host);
        place.under_way = None;
        match &result {
            Ok(addresses) => {
                place.known = Some(Known { addresses: Arc::clone(addresses), since: now });
                place.failed = None;
            }
            Err(Unresolved) => place.failed = Some(now),
        }
        drop(state);
        // Last, so that who hears of it finds it in the table. Nobody else sets it.
        let _ = self.landing.set(result);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.landing.initialized() {
            self.land(Err(Unresolved));
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, family) = (Arc::clone(&self.names), self.family);
        Box::pin(async move {
            let addresses = names.resolve(name.as_str()).await?;
            let fit: Vec<_> = addresses.iter().copied().filter(|address| family.takes(*address)).collect();
            if fit.is_empty() {
                return Err(Unresolved.into());
            }
            // Port 0: the URL's.
            let fit: Addrs = Box::new(fit.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(fit)
        })
    }
}

#[cfg(test)]
mod tests;
