//! A configured client with its purposes, rights, rate and daily count; and the caller of one request.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::client_config::{ANONYMOUS, ClientConfig, DEFAULT_PURPOSE};
use super::rate::Rate;
use super::rights::{Day, Rights};
use crate::domain::clock::Clock;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::http::rate_limit::Allowance;
use crate::storage::shared::{ClientShare, Shared};

pub struct Client {
    pub name: Arc<str>,
    pub rights: Rights,
    purposes: Vec<Arc<str>>,
    /// `None` for `anonymous`, which has no rate limit.
    rate: Option<Arc<Rate>>,
    day: Day,
    /// Its limits over all replicas; empty if nothing is shared.
    share: OnceLock<Arc<ClientShare>>,
}

/// The client of one request, and how it was identified.
#[derive(Debug, Clone)]
pub struct Caller {
    pub client: Arc<Client>,
    /// The public id of its key; empty if it was not identified by a key.
    pub key_id: Arc<str>,
    /// The public id of its certificate, if one was used.
    pub certificate_id: Option<Arc<str>>,
}

impl Caller {
    /// The public id of its credential: the key's, otherwise the certificate's.
    pub fn shown(&self) -> Arc<str> {
        match &self.certificate_id {
            Some(certificate) if self.key_id.is_empty() => Arc::clone(certificate),
            _ => Arc::clone(&self.key_id),
        }
    }
}

impl Client {
    pub(super) fn of(name: &str, config: &ClientConfig, before: Option<&Self>) -> Self {
        let (per_second, burst) = (config.rate_limit, config.burst.unwrap_or(config.rate_limit));
        let rate = before.and_then(|before| before.rate.clone());
        let rate = rate.filter(|rate| rate.is(per_second, burst));
        Self {
            name: Arc::from(name),
            rights: Rights::of(config),
            purposes: shared(&config.purposes),
            rate: Some(rate.unwrap_or_else(|| Arc::new(Rate::new(per_second, burst)))),
            day: Day::new(config.daily_cap, before.map(|before| &before.day)),
            share: OnceLock::new(),
        }
    }

    pub(super) fn anonymous(purposes: &[String]) -> Self {
        let (name, purposes) = (Arc::from(ANONYMOUS), shared(purposes));
        let day = Day::new(None, None);
        Self { name, rights: Rights::ALL, purposes, rate: None, day, share: OnceLock::new() }
    }

    /// Applies its limits to all replicas together.
    pub(super) fn share(&self, shared: &Shared) {
        if let Some(share) = shared.client(&self.name) {
            let _ = self.share.set(share);
        }
    }

    /// The purpose of a question. If it names none: `default`, otherwise the client's only purpose.
    ///
    /// # Errors
    /// `forbidden` if the client may not use the purpose.
    pub fn purpose(&self, named: Option<&str>) -> Result<Arc<str>, Refused> {
        let only = || if let [only] = &*self.purposes { Some(Arc::clone(only)) } else { None };
        let find = |wanted: &str| self.purposes.iter().find(|purpose| &***purpose == wanted).cloned();
        let found = match named {
            Some(named) => find(named),
            None => find(DEFAULT_PURPOSE).or_else(only),
        };
        found.ok_or_else(|| {
            let detail = "is not one of this client's purposes";
            Box::new(Problem::new(Code::Forbidden).with_error("/purpose", "not_allowed", detail))
        })
    }

    pub(in crate::server) fn purposes(&self) -> &[Arc<str>] {
        &self.purposes
    }

    /// The rate: requests a second, and at once. `None` if there is no limit.
    pub(in crate::server) fn limits(&self) -> Option<(u32, u32)> {
        self.rate.as_ref().map(|rate| rate.limits())
    }

    /// Questions of this day, and their cap.
    pub(in crate::server) fn day(&self, clock: &Clock) -> (u32, Option<u32>) {
        self.day.used(clock)
    }

    /// Counts a request against the client's rate, and returns the remaining allowance.
    ///
    /// # Errors
    /// The time to wait, if the rate is used up.
    pub fn admit(&self) -> Result<Option<Allowance>, (Allowance, Duration)> {
        let admit = |rate: &Rate| match self.share.get() {
            None => rate.admit(),
            Some(share) => rate.admit_shared(share),
        };
        self.rate.as_deref().map(admit).transpose()
    }

    /// Counts a question against the client's daily cap. Only for questions that have passed local validation.
    ///
    /// # Errors
    /// `rate_limited` until tomorrow, if the cap is reached.
    pub fn count_question(&self, clock: &Clock) -> Result<(), Refused> {
        self.day.count(clock, self.share.get().map(|share| &**share))
    }
}

fn shared(words: &[String]) -> Vec<Arc<str>> {
    words.iter().map(|word| Arc::from(&**word)).collect()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}
