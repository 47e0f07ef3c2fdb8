//! A DNS cache for the providers' names, so that a slow or failing name server does not fail calls.
//!
//! A cached answer is used without a look-up while it is younger than `fresh`. After that the name is looked up again,
//! but while the old answer is younger than `stale`, it is used if the look-up fails or takes long.
//!
//! Invariants: a name has at most one look-up in flight, however many callers wait; a look-up whose callers have left
//! still updates the table; the table is bounded. This module only chooses addresses: the server at an address must
//! still present a valid certificate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use reqwest::dns::{Addrs, Resolving};
use serde::Deserialize;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::exhaustion;
use super::settings::Family;

/// How long to wait for a look-up when there is a stale answer.
const PATIENCE: Duration = Duration::from_millis(250);

/// After a failed look-up, how long a stale answer is used without another look-up.
const PAUSE: Duration = Duration::from_secs(1);

/// The size limit of the table; a configuration has only a handful of names. The oldest entry is evicted first.
const MOST_NAMES: usize = 256;

/// The addresses kept per name; more than can be tried within one connect timeout.
const MOST_ADDRESSES: usize = 16;

/// The upper limit of `stale`. After a day an address may belong to somebody else.
const LONGEST: Duration = Duration::from_hours(24);

/// Section `[dns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long an answer is used without another look-up.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub fresh: Duration,
    /// The maximum age of an answer that is used when the look-up fails or is slow.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub stale: Duration,
}

/// Resolves names. May block: it runs on a blocking thread.
pub trait LookUp: fmt::Debug + Send + Sync {
    /// All addresses of `host`, in the order in which to try them.
    ///
    /// # Errors
    /// The name has no address, or the look-up failed.
    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver: `/etc/hosts`, then the configured name servers.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// The DNS cache.
#[derive(Debug)]
pub struct Names {
    look_up: Arc<dyn LookUp>,
    state: Mutex<State>,
    meter: Meter,
}

/// A name could not be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The look-up failed, or found nothing.
    #[error("the name cannot be resolved")]
    Unknown,
    /// This process has no descriptor for a look-up.
    #[error("no name can be resolved for want of descriptors")]
    Exhausted,
}

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

/// What the table holds for a name.
enum Look {
    Cached(Arc<[IpAddr]>),
    Stale(Arc<[IpAddr]>),
    Wait { landing: Arc<Landing>, instead: Option<Arc<[IpAddr]>> },
}

/// The resolver of one HTTP client: returns the addresses of its family from the shared table.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Resolver {
    pub(in crate::verify) names: Arc<Names>,
    pub(in crate::verify) family: Family,
}

/// Runs one look-up. Its waiters get a result even if it panics, because dropping it without one reports a failure.
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
    /// All mistakes, as (key, what is wrong and how to fix it).
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
        let found = (host, 0).to_socket_addrs().map_err(|error| exhaustion::now().unwrap_or(error))?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

impl Names {
    /// An empty table that resolves with `look_up` and registers its counters in `registry`.
    ///
    /// # Errors
    /// The counters are already registered.
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

    /// Changes how long answers are kept. Applies to existing entries too.
    pub(in crate::verify) fn keep_for(&self, times: Config) {
        self.lock().times = times;
    }

    /// The addresses of `host`, at least one.
    ///
    /// # Errors
    /// The look-up failed and there is no answer younger than `stale`.
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
                // On a blocking thread, because the system resolver blocks. It is not cancelled when its callers leave.
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
            // If the evicted name has a look-up in flight, `land` inserts it again as the newest entry.
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
        if found.as_ref().is_err_and(exhaustion::is_cause) {
            tracing::warn!(host = &*self.host, "no descriptor is free to resolve a provider's name");
            return self.land(Err(Unresolved::Exhausted));
        }
        let mut addresses = found.unwrap_or_default();
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() {
            // `drop` reports the failure.
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
            Err(_) => place.failed = Some(now),
        }
        drop(state);
        // Set last, so that a waiter that wakes up finds the result in the table. Nothing else sets it.
        let _ = self.landing.set(result);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.landing.initialized() {
            self.land(Err(Unresolved::Unknown));
        }
    }
}

impl Resolver {
    /// The addresses of `name`, at least one. Port 0 means the port of the URL.
    async fn addresses(self, name: &str) -> Result<vec::IntoIter<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let addresses = match self.names.resolve(name).await {
            Err(Unresolved::Exhausted) => return Err(exhaustion::error().into()),
            addresses => addresses?,
        };
        let fit = addresses.iter().copied().filter(|address| self.family.takes(*address));
        let fit: Vec<_> = fit.map(|address| SocketAddr::new(address, 0)).collect();
        if fit.is_empty() { Err(Unresolved::Unknown.into()) } else { Ok(fit.into_iter()) }
    }
}

/// For the clients that fetch credentials.
impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses: Addrs = Box::new(resolver.addresses(name.as_str()).await?);
            Ok(addresses)
        })
    }
}

/// For the connections to the providers.
impl tower::Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { resolver.addresses(name.as_str()).await })
    }
}

#[cfg(test)]
mod tests;
