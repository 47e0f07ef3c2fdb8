//! What replicas share, as the rest of the program has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::acknowledged::Acknowledged;
use super::bus::{Bus, Event};
use super::client_share::Clients;
use super::config::Config;
use super::link::Link;
use super::members::{Description, Members, State};
use super::metrics::{Meter, Role};
use super::password::Password;
use super::patience::Patience;
use super::place::Place;
use super::script::Command;
use super::totals;
use super::unlanded::Unlanded;
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::{Digest, DigestKey};

/// How often the others are asked to hurry, at most.
const HURRY: Duration = Duration::from_millis(20);

/// What the replicas share; empty if nothing is shared. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shared(pub(super) Option<Arc<Open>>);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) config: Config,
    pub(super) digest_key: DigestKey,
    pub(super) clock: Clock,
    ids: Ids,
    /// Random at each start: the owner of a lease is named by it.
    pub(super) incarnation: [u8; 8],
    /// `NAMESPACE1:KEYID:`; another digest key is another world.
    pub(super) prefix: String,
    pub(super) link: Link,
    pub(super) bus: Bus,
    pub(super) members: Members,
    pub(super) meter: Meter,
    pub(super) totals: totals::Book,
    pub(super) clients: Clients,
    pub(super) unlanded: Unlanded,
    pub(super) acknowledged: Acknowledged,
    hurried: Mutex<Option<Instant>>,
}

impl Shared {
    /// Nothing is shared.
    pub const OFF: Self = Self(None);

    /// Prepares what is shared under `config`; nothing is connected before [`Self::run`].
    ///
    /// # Errors
    /// `registry` already has these metrics.
    pub fn new(
        config: Config,
        (digest_key, clock, ids): (&DigestKey, &Clock, &Ids),
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let meter = Meter::register(registry)?;
        meter.most(config.most.get());
        let [a, b, c, d, e, f, g, h, ..] = ids.nonce().into_bytes();
        let prefix = format!("{}1:{}:", config.namespace, digest_key.id());
        let incarnation = [a, b, c, d, e, f, g, h];
        let started = u64::try_from(clock.wall().as_microsecond()).unwrap_or_default();
        Ok(Self(Some(Arc::new(Open {
            link: Link::new(&config, format!("{prefix}bus"), meter.clone()),
            bus: Bus::new(incarnation),
            members: Members::new(&config, incarnation, digest_key),
            totals: totals::Book::new(started),
            clients: Clients::default(),
            unlanded: Unlanded::default(),
            acknowledged: Acknowledged::default(),
            hurried: Mutex::default(),
            digest_key: digest_key.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            config,
            incarnation,
            prefix,
            meter,
        }))))
    }

    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps the connection and the membership up; never ends. Tells `events` what other replicas say.
    pub async fn run(&self, events: mpsc::Sender<Event>) {
        let Some(open) = &self.0 else { return std::future::pending().await };
        let hear = |push| open.bus.hear(&push, &open.acknowledged, &events);
        tokio::join!(open.link.run(hear, &events), open.link.write_behind(), open.beat(&events), open.tell_clients());
    }

    /// Leaves the members, so that nobody takes this replica for dead.
    pub async fn leave(&self) {
        if let Some(open) = &self.0 {
            open.leave().await;
        }
    }

    /// Names the configuration that this replica runs.
    pub fn describe(&self, description: &Description) {
        if let Some(open) = &self.0 {
            open.members.describe(description);
        }
    }

    /// For the status page; `None` if nothing is shared.
    pub fn state(&self) -> Option<State> {
        let open = self.0.as_ref()?;
        Some(open.members.state(open.link.is_up(), open.link.since()))
    }

    /// How many replicas live, with this one.
    pub fn live(&self) -> usize {
        self.0.as_ref().map_or(1, |open| open.members.live())
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.link.is_up())
    }

    /// What one question may wait for Redis.
    pub fn patience(&self) -> Patience {
        self.0.as_ref().map_or(Patience::NONE, |open| Patience::of(open.config.patience))
    }

    /// What the call of a question may wait for Redis, after `question` has waited to hear whether anybody knows.
    pub fn patience_of_the_call(&self, question: &Patience) -> Patience {
        self.0.as_ref().map_or(Patience::NONE, |open| question.of_the_call(open.config.patience))
    }

    /// So many replicas run at most: what is shared is divided by it while Redis is away.
    pub fn most(&self) -> u32 {
        self.0.as_ref().map_or(1, |open| open.config.most.get())
    }

    /// How long a silent replica is not taken for dead.
    pub fn takeover(&self) -> Duration {
        self.0.as_ref().map(|open| open.config.takeover).unwrap_or_default()
    }

    /// Uses the password of a newer configuration from the next connection on.
    pub fn replace_password(&self, newer: &Password) {
        if let Some(open) = &self.0 {
            open.config.password.replace(newer);
        }
    }

    /// An id for a flight that the ledger gives none.
    pub fn new_flight(&self) -> Uuid {
        self.0.as_ref().map(|open| open.ids.nonce()).unwrap_or_default()
    }

    /// Asks the other replicas to write down what they have not yet, because somebody looks for it. Not more often than
    /// they could do it.
    pub fn hurry(&self) {
        let Some(open) = &self.0 else { return };
        let (mut hurried, now) = (open.hurried.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if hurried.is_none_or(|last| now.duration_since(last) >= HURRY) {
            *hurried = Some(now);
            open.publish([b"M", &open.incarnation[..]].concat());
        }
    }

    /// Counts how a question that had to be asked fared.
    pub fn count(&self, role: Role) {
        if let Some(open) = &self.0 {
            open.meter.question(role);
        }
    }

    /// The place of a person's verdicts under the policy with the key `policy`, of `owner` (empty: of all clients).
    pub fn place(&self, person: Digest, policy: &str, owner: &str) -> Place {
        let scope = self
            .0
            .as_ref()
            .map(|open| short(open.digest_key.digest("scope/v1", &[policy.as_bytes(), owner.as_bytes()])));
        Place { person, scope: scope.unwrap_or_default() }
    }

    /// A name of a client, a provider or a person's name as eight bytes.
    pub fn name(&self, context: &str, text: &str) -> [u8; 8] {
        self.0.as_ref().map(|open| short(open.digest_key.digest(context, &[text.as_bytes()]))).unwrap_or_default()
    }
}

impl Open {
    pub(super) fn key(&self, kind: &str, rest: &[u8]) -> Vec<u8> {
        let separator: &[u8] = if rest.is_empty() { b"" } else { b":" };
        [self.prefix.as_bytes(), kind.as_bytes(), separator, rest].concat()
    }

    pub(super) fn key_of(&self, person: &Digest) -> Vec<u8> {
        self.key("p", person.as_bytes())
    }

    /// Sends a message to every replica. Nobody waits for it.
    pub(super) fn publish(&self, message: Vec<u8>) {
        let mut cmd = redis::cmd("PUBLISH");
        cmd.arg(self.channel()).arg(message);
        self.link.behind(Command::Publish, cmd);
    }

    pub(super) fn random(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.ids.nonce().into_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(super) fn channel(&self) -> String {
        format!("{}bus", self.prefix)
    }
}

/// The first eight bytes, as unpredictable as the digest.
fn short(digest: Digest) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    [a, b, c, d, e, f, g, h]
}
