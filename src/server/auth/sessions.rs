//! Sessions of the console: the operator who has signed in, when the session ends, and the token of its forms.
//!
//! Invariants: sessions are in memory only, and so end with the process; their number is bounded, in all and for each
//! operator; a session is no authority of its own: each request looks up again whether its key or certificate still
//! belongs to an operator, and what that operator may do now. Only the digest of a cookie is kept.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Extensions, HeaderMap, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::key_config::KeyHash;
use super::operators::{Operator, Operators};
use crate::domain::clock::Ids;

/// The name of the cookie.
pub const COOKIE: &str = "idgate_console";
/// The most sessions at a time.
const MOST: usize = 1024;
/// The most sessions of one operator. One more ends the oldest.
const MOST_OF_ONE: usize = 16;
/// How many addresses are told apart when sign-ins are counted; others share a place.
const PLACES: usize = 256;
/// How many sign-ins may fail in a row, and how soon there is another.
const TRIES: u32 = 10;
const NEXT_TRY: Duration = Duration::from_secs(6);

/// The running sessions.
pub struct Sessions {
    lifetime: Duration,
    ids: Ids,
    running: Mutex<HashMap<[u8; 32], Running>>,
    tries: Mutex<Vec<Tries>>,
    hasher: RandomState,
}

/// How somebody has signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Proof {
    /// No operator is configured.
    Local,
    Key(KeyHash),
    Certificate,
}

#[derive(Debug)]
struct Running {
    proof: Proof,
    operator: Arc<str>,
    form_token: Arc<str>,
    began: Instant,
}

/// The session of a request, as an extension of it.
#[derive(Debug, Clone)]
pub struct Session {
    form_token: Arc<str>,
    key: [u8; 32],
}

/// Failed sign-ins from a place: how many may still fail at `since`.
#[derive(Debug, Clone, Copy)]
struct Tries {
    left: u32,
    since: Instant,
}

impl Sessions {
    pub fn new(lifetime: Duration, ids: Ids) -> Self {
        let fresh = Tries { left: TRIES, since: Instant::now() };
        let tries = Mutex::new(vec![fresh; PLACES]);
        Self { lifetime, ids, running: Mutex::default(), tries, hasher: RandomState::new() }
    }

    /// How long a session lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// An unguessable word: 244 random bits.
    pub fn word(&self) -> String {
        format!("{}{}", self.ids.nonce().simple(), self.ids.nonce().simple())
    }

    /// Whether this address may try to sign in.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn may_try(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let now = Instant::now();
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place(address);
        let Some(tries) = tries.get_mut(place) else { return Ok(()) };
        tries.refill(now);
        if tries.left == 0 { Err(NEXT_TRY.saturating_sub(now.duration_since(tries.since))) } else { Ok(()) }
    }

    /// Counts a sign-in that has failed.
    pub fn has_failed(&self, address: Option<IpAddr>) {
        let place = self.place(address);
        if let Some(tries) = self.tries.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            if tries.left == TRIES {
                tries.since = Instant::now();
            }
            tries.left = tries.left.saturating_sub(1);
        }
    }

    /// An IPv6 address counts as its /64 network: one caller has all addresses of it.
    fn place(&self, address: Option<IpAddr>) -> usize {
        let network = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(v4)) => u64::from(v4.to_bits()),
            Some(IpAddr::V6(v6)) => (v6.to_bits() >> 64) as u64,
            None => 0,
        };
        usize::try_from(self.hasher.hash_one(network) % PLACES as u64).unwrap_or_default()
    }

    /// Begins a session, and returns the cookie. `None` if there are too many, all of them running.
    pub(in crate::server) fn begin(&self, operator: &Operator, proof: Proof) -> Option<String> {
        let (cookie, form_token) = (self.word(), Arc::from(self.word()));
        let now = Instant::now();
        let mut running = self.running();
        running.retain(|_, one| now.duration_since(one.began) < self.lifetime);
        let of_one = || running.iter().filter(|(_, one)| one.operator == operator.name);
        if of_one().count() >= MOST_OF_ONE {
            let oldest = of_one().min_by_key(|(_, one)| one.began).map(|(key, _)| *key);
            oldest.map(|key| running.remove(&key));
        }
        if running.len() >= MOST {
            return None;
        }
        let operator = Arc::clone(&operator.name);
        running.insert(digest(&cookie), Running { proof, operator, form_token, began: now });
        Some(cookie)
    }

    /// The session of a request, and its operator as configured now.
    pub(in crate::server) fn find(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        operators: &Operators,
        now: Timestamp,
    ) -> Option<(Session, Arc<Operator>)> {
        let key = digest(cookie(headers, COOKIE)?);
        let (proof, name, form_token) = {
            let running = self.running();
            let one = running.get(&key).filter(|one| one.began.elapsed() < self.lifetime)?;
            (one.proof, Arc::clone(&one.operator), Arc::clone(&one.form_token))
        };
        let operator = match proof {
            Proof::Local => operators.local().cloned(),
            Proof::Key(hash) => operators.with_key(&hash, now),
            Proof::Certificate => operators.with_certificate(extensions).ok(),
        };
        let operator = operator.filter(|operator| operator.name == name)?;
        Some((Session { form_token, key }, operator))
    }

    pub fn end(&self, session: &Session) {
        self.running().remove(&session.key);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<[u8; 32], Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    fn refill(&mut self, now: Instant) {
        let more = now.duration_since(self.since).as_secs() / NEXT_TRY.as_secs();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.since += NEXT_TRY.saturating_mul(more.min(1_000_000));
        self.left = self.left.saturating_add(more).min(TRIES);
    }
}

impl Session {
    /// What every form of this session sends back.
    pub fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Tells sessions apart. It is the digest of a cookie, so it opens none.
    pub(in crate::server) fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Compares in constant time.
    pub fn is_token(&self, sent: &str) -> bool {
        self.form_token.as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.running().len())
    }
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(one, _)| *one == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::auth::roles::Roles;

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(60), Ids::new(random, random))
    }

    fn random() -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)))
    }

    fn find(sessions: &Sessions, cookie: &str) -> Option<(Session, Arc<Operator>)> {
        let headers = HeaderMap::from_iter([(header::COOKIE, format!("a=b; {COOKIE}={cookie}").parse().unwrap())]);
        let operators = Operators::new(&std::collections::BTreeMap::new());
        sessions.find(&headers, &Extensions::new(), &operators, Timestamp::UNIX_EPOCH)
    }

    fn operator(name: &str) -> Operator {
        Operator { name: Arc::from(name), roles: Roles::all() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_bounded_for_each_operator_and_in_all_and_end_by_themselves() {
        let sessions = sessions();
        let local = operator("local");
        let mut cookies = Vec::new();
        for _ in 0..100_000 {
            cookies.push(sessions.begin(&local, Proof::Local).unwrap());
            // Which is the oldest is known only if no two begin at the same time.
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert_eq!(sessions.running().len(), MOST_OF_ONE);
        assert!(find(&sessions, &cookies[0]).is_none(), "the oldest has ended");
        let last = cookies.last().unwrap();
        let (session, who) = find(&sessions, last).unwrap();
        assert!(*who.name == *"local" && session.is_token(session.form_token()) && !session.is_token(""));
        for n in 0..200 {
            let one = operator(&format!("o{n}"));
            (0..MOST_OF_ONE).for_each(|_| drop(sessions.begin(&one, Proof::Local)));
        }
        assert_eq!(sessions.running().len(), MOST);
        assert!(sessions.begin(&operator("late"), Proof::Local).is_none());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(find(&sessions, last).is_none());
        assert!(sessions.begin(&operator("late"), Proof::Local).is_some());
        assert_eq!(sessions.running().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_sign_ins_are_ten_and_one_each_six_seconds() {
        let sessions = sessions();
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let tries = |most: u32| {
            let tried = (0..most).filter(|_| {
                let may = sessions.may_try(address).is_ok();
                may.then(|| sessions.has_failed(address)).is_some()
            });
            tried.count()
        };
        assert_eq!(tries(10_000), 10);
        tokio::time::advance(NEXT_TRY).await;
        assert_eq!(tries(10_000), 1);
        tokio::time::advance(NEXT_TRY * 1000).await;
        assert_eq!(tries(10_000), 10);
    }
}
