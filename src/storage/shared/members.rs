//! The other replicas: which there are, which have fallen silent, and which have another configuration.
//!
//! Silence is measured on our own clock, and only while we reached Redis ourselves: a replica that is cut off must not
//! take the others for dead.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::config::Config;
use crate::domain::subject::DigestKey;

/// After so many beats without a change a replica counts as silent in metrics and status.
const SILENT: Duration = Duration::from_secs(5);

/// After this it is removed.
const GONE: Duration = Duration::from_hours(1);

/// How many replicas are known at most, and how long what one says may be: anybody who reaches Redis can write there.
pub(super) const MOST: usize = 256;
pub(super) const LONGEST: usize = 4096;

/// What the configuration of a replica is, in digests.
#[derive(Debug, Clone, Default)]
pub struct Description {
    pub version: String,
    pub configuration: String,
    pub sections: Vec<(String, Vec<u8>)>,
}

/// Another replica, or this one, for the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub version: String,
    pub configuration: String,
    pub is_silent: bool,
    pub is_self: bool,
}

/// What is shared, for the status page.
#[derive(Debug, Clone)]
pub struct State {
    pub is_up: bool,
    /// How long it has been so.
    pub since: Duration,
    pub members: Vec<Member>,
    /// The sections of the configuration in which a replica differs from this one.
    pub differ: Vec<String>,
}

/// Another replica, as it may be waited for.
#[derive(Debug, Clone)]
pub(super) struct Other {
    pub(super) name: String,
    pub(super) incarnation: [u8; 8],
    pub(super) is_silent: bool,
}

#[derive(Debug)]
pub(super) struct Members {
    pub(super) name: String,
    own: String,
    pub(super) key: String,
    digest_key: DigestKey,
    state: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    beats: u64,
    description: Description,
    known: BTreeMap<String, Known>,
    /// Since when every beat has reached Redis.
    reached: Option<Instant>,
    decisions: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Known {
    raw: String,
    said: Said,
    changed: Instant,
}

/// What a replica says of itself each second; at most 1 KB.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    incarnation: String,
    beat: u64,
    version: String,
    format: u32,
    digest_key: String,
    configuration: String,
    /// Never a digest of the section itself, which a short secret would fall to.
    sections: BTreeMap<String, String>,
}

impl Members {
    pub(super) fn new(config: &Config, incarnation: [u8; 8], digest_key: &DigestKey) -> Self {
        Self {
            name: config.replica.clone(),
            own: hex::encode(incarnation),
            // Without the digest key, so that replicas with different ones see each other.
            key: format!("{}1:members", config.namespace),
            digest_key: digest_key.clone(),
            state: Mutex::default(),
        }
    }

    pub(super) fn describe(&self, description: &Description) {
        self.lock().description = description.clone();
    }

    /// Whether the owner of this token has been silent for so long that its call may be made again.
    pub(super) fn is_silent(&self, token: &[u8; 24], since: Instant, takeover: Duration) -> bool {
        let incarnation = hex::encode(token.get(..8).unwrap_or_default());
        if incarnation == self.own || *token == [0; 24] {
            return false;
        }
        let state = self.lock();
        let known = state.known.values().find(|known| known.said.incarnation == incarnation);
        let heard = known.map_or(since, |known| known.changed);
        state.reached.is_some_and(|reached| heard.max(reached).elapsed() >= takeover)
    }

    /// How many are there, with this one.
    pub(super) fn live(&self) -> usize {
        self.lock().known.values().filter(|known| known.changed.elapsed() < SILENT).count().max(1)
    }

    /// Those that are known, with this one.
    pub(super) fn names(&self) -> Vec<String> {
        let own = [self.name.clone()];
        own.into_iter().chain(self.lock().known.keys().filter(|name| **name != self.name).cloned()).collect()
    }

    /// The others, also those that have been silent for less than an hour.
    pub(super) fn others(&self) -> Vec<Other> {
        let state = self.lock();
        let of = |(name, known): (&String, &Known)| {
            let mut incarnation = [0; 8];
            hex::decode_to_slice(&known.said.incarnation, &mut incarnation).ok()?;
            let is_silent = known.changed.elapsed() >= SILENT;
            (known.said.incarnation != self.own).then(|| Other { name: name.clone(), incarnation, is_silent })
        };
        state.known.iter().filter_map(of).collect()
    }

    pub(super) fn state(&self, is_up: bool, since: Instant) -> State {
        let state = self.lock();
        let members = state.known.iter().map(|(name, known)| Member {
            name: name.clone(),
            version: known.said.version.clone(),
            configuration: known.said.configuration.clone(),
            is_silent: known.changed.elapsed() >= SILENT,
            is_self: known.said.incarnation == self.own,
        });
        State { is_up, since: since.elapsed(), members: members.collect(), differ: self.differ(&state) }
    }

    fn differ(&self, state: &Inner) -> Vec<String> {
        let own = self.sections(state);
        let mut differ = Vec::new();
        for known in state.known.values().filter(|known| known.changed.elapsed() < SILENT) {
            let names = own.keys().chain(known.said.sections.keys());
            let apart = names.filter(|name| own.get(*name) != known.said.sections.get(*name));
            differ.extend(apart.cloned());
            if known.said.digest_key != self.digest_key.id() {
                differ.push("cache.digest_key".to_owned());
            }
        }
        differ.sort();
        differ.dedup();
        differ
    }

    fn sections(&self, state: &Inner) -> BTreeMap<String, String> {
        let of = |(name, digest): &(String, Vec<u8>)| {
            let mac = self.digest_key.digest("section/v1", &[name.as_bytes(), digest]);
            (name.clone(), mac.to_hex().get(..8).unwrap_or_default().to_owned())
        };
        state.description.sections.iter().map(of).collect()
    }

    pub(super) fn say(&self) -> String {
        let mut state = self.lock();
        state.beats += 1;
        let said = Said {
            incarnation: self.own.clone(),
            beat: state.beats,
            version: state.description.version.clone(),
            format: 1,
            digest_key: self.digest_key.id().to_owned(),
            configuration: state.description.configuration.clone(),
            sections: self.sections(&state),
        };
        // Plain strings and numbers always serialize.
        serde_json::to_string(&said).unwrap_or_default()
    }

    /// Takes what all say. Returns the names of those to be removed.
    pub(super) fn heard(&self, all: &BTreeMap<String, String>) -> Vec<String> {
        let (mut state, now) = (self.lock(), Instant::now());
        state.reached.get_or_insert(now);
        state.known.retain(|name, _| all.contains_key(name));
        for (name, raw) in all {
            if state.known.get(name).is_some_and(|known| known.raw == *raw) {
                continue;
            }
            let Ok(said) = serde_json::from_str::<Said>(raw) else { continue };
            if *name == self.name && said.incarnation != self.own {
                tracing::error!(replica = &**name, "another process has our replica.name; give each its own");
            }
            state.known.insert(name.clone(), Known { raw: raw.clone(), said, changed: now });
        }
        let gone = state.known.iter().filter(|(_, known)| known.changed.elapsed() >= GONE);
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// Redis was not reached: nobody can be told silent from cut off.
    pub(super) fn cut_off(&self) {
        self.lock().reached = None;
    }

    /// How many live and how many are silent, and the sections in which they differ.
    pub(super) fn count(&self) -> (usize, usize, Vec<String>) {
        let state = self.lock();
        let silent = state.known.values().filter(|known| known.changed.elapsed() >= SILENT).count();
        (state.known.len() - silent, silent, self.differ(&state))
    }

    /// Takes over the decisions that are newer than ours: whether there were any, and ours that Redis has lost.
    pub(super) fn compare(&self, decided: BTreeMap<String, String>) -> (bool, Vec<(String, String)>) {
        let mut state = self.lock();
        let lost = |(provider, ours): &(&String, &String)| {
            decided.get(*provider).is_none_or(|theirs| made_at(theirs) < made_at(ours))
        };
        let lost = state.decisions.iter().filter(lost).map(|(one, two)| (one.clone(), two.clone())).collect();
        let mut is_news = false;
        for (provider, theirs) in decided {
            // Fewer than that are in Redis at once, but not over time.
            if !state.decisions.contains_key(&provider) && state.decisions.len() >= MOST {
                continue;
            }
            if state.decisions.get(&provider).is_none_or(|ours| made_at(ours) < made_at(&theirs)) {
                state.decisions.insert(provider, theirs);
                is_news = true;
            }
        }
        (is_news, lost)
    }

    /// Keeps what was decided at `at_ms` here, and returns it as Redis has it. Of two decisions within a millisecond the
    /// second is the newer one.
    pub(super) fn decide(&self, provider: &str, at_ms: i64, said: &str) -> String {
        let mut state = self.lock();
        let earliest = state.decisions.get(provider).map_or(i64::MIN, |before| made_at(before).saturating_add(1));
        let decision = format!("{}:{said}", at_ms.max(earliest));
        state.decisions.insert(provider.to_owned(), decision.clone());
        decision
    }

    pub(super) fn decisions(&self) -> BTreeMap<String, String> {
        self.lock().decisions.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn made_at(decision: &str) -> i64 {
    decision.split_once(':').and_then(|(at, _)| at.parse().ok()).unwrap_or_default()
}
