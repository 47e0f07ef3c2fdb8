//! What this replica tells the others, and what it does when they tell it something: a person to forget, a decision of an
//! operator, numbers that clients have asked about.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::enumeration;
use super::erasure::Forgotten;
use super::isolation::Isolated;
use super::runtime::Runtime;
use crate::domain::subject::{Digest, Subject};
use crate::storage::shared::{Event, Shared};

impl Runtime {
    /// Erases `subject` from the verdict cache, holds, billing and the enumeration guard. Calls in flight will store
    /// nothing.
    pub async fn forget(&self, subject: &Subject) -> Forgotten {
        let (key, replicas) = (&self.lookup.digest_key, &self.lookup.replicas);
        let (person, number) = (key.person(subject), enumeration::number(key, subject));
        let mut forgotten = self.forget_here(person, number).await;
        if replicas.is_on() {
            let elsewhere = replicas.shared.forget(person, number, replicas.longest()).await;
            if !elsewhere.is_told {
                self.lookup.traces.untold.add(person, number);
            }
            forgotten.replicas = Some((elsewhere.of, elsewhere.unconfirmed));
        }
        forgotten
    }

    async fn forget_here(&self, person: Digest, number: Digest) -> Forgotten {
        let (verdicts, under_way) = self.lookup.forget(person).await;
        self.lookup.billing.forget(&person);
        let holds = self.providers.iter().filter(|provider| provider.account.holds.forget(person)).count();
        let tries = self.lookup.traces.tries.forget(number);
        Forgotten { verdicts, holds, tries, under_way, replicas: None }
    }

    /// Erases what is known here about a person whom another replica was asked to forget, as the common record says. It
    /// does not have the number, so what was counted for that stays until its window ends.
    pub async fn forget_recorded(&self, person: Digest) {
        let (verdicts, under_way) = self.lookup.forget(person).await;
        self.lookup.billing.forget(&person);
        let holds = self.providers.iter().filter(|provider| provider.account.holds.forget(person)).count();
        if verdicts + under_way + holds > 0 {
            tracing::warn!(verdicts, holds, under_way, "a person was forgotten, as the record says");
        }
    }

    /// Tells the other replicas each second what this one has spent of its budgets, and whom it has forgotten while Redis
    /// was away. Never ends.
    pub async fn tell(&self, shared: &Shared) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let untold = &self.lookup.traces.untold;
        loop {
            ticks.tick().await;
            self.lookup.billing.tell(shared).await;
            while shared.is_up()
                && let Some((person, number)) = untold.first()
                && shared.forget(person, number, self.lookup.replicas.longest()).await.is_told
            {
                untold.told((person, number));
            }
        }
    }

    /// Hears how many numbers each client has asked about at other replicas. Call it each second.
    pub async fn hear_numbers(&self) {
        let (replicas, tries) = (&self.lookup.replicas, &self.lookup.traces.tries);
        if self.enumeration.numbers_per_client == 0 {
            return;
        }
        let own = tries.numbers();
        let names: Vec<_> = own.iter().map(|(client, _)| replicas.name_of(client)).collect();
        let all = match names.is_empty() {
            true => Vec::new(),
            // While Redis is away, each replica's own count decides.
            false => replicas.shared.numbers_of(&names, self.enumeration.window).await.unwrap_or_default(),
        };
        let elsewhere = own.into_iter().zip(all).map(|((client, own), all)| {
            let all = usize::try_from(all).unwrap_or(usize::MAX);
            // Redis' count is off by up to two in a hundred; what may be that is nobody's.
            let is_noise = all.saturating_sub(own) <= all / 50;
            (client, if is_noise { 0 } else { all - own })
        });
        tries.heard(&elsewhere.collect::<Vec<_>>());
    }

    /// Does what another replica says.
    pub async fn hear(&self, event: Event) {
        match event {
            // The next question finds the newer verdict elsewhere.
            Event::Replaced(person) => drop(self.lookup.verdict_cache.cache.forget_person(&person)),
            Event::Forgotten(person, number, acknowledge) => {
                let shared = &self.lookup.replicas.shared;
                shared.forget_here(&person);
                let Forgotten { verdicts, holds, tries, .. } = self.forget_here(person, number).await;
                shared.has_forgotten(acknowledge);
                tracing::warn!(verdicts, holds, tries, "a person was forgotten, as another replica was told");
            }
            Event::Hurry => self.lookup.ledger.hurry(),
            Event::Missed => {
                self.lookup.verdict_cache.cache.forget_all();
                self.follow(&self.lookup.replicas.shared.decisions());
                tracing::warn!("messages of other replicas were lost; this replica has forgotten its verdicts");
            }
            Event::Decided => self.follow(&self.lookup.replicas.shared.decisions()),
        }
    }

    /// Tells the other replicas that an operator has isolated or restored the named provider.
    pub fn decided(&self, provider: &str, at: Timestamp, isolated: Option<&Isolated>) {
        let said = isolated.map(Isolated::to_text).unwrap_or_default();
        self.lookup.replicas.shared.decided(provider, at.as_millisecond(), &said);
    }

    /// Does what operators have decided at other replicas; what is older than the last look has been done.
    fn follow(&self, decisions: &[(String, i64, String)]) {
        for (provider, _, said) in decisions {
            let Some(known) = self.provider(provider) else { continue };
            let is_isolated = known.account.isolation.at(Instant::now()).is_some();
            match Isolated::from_text(said) {
                Some(isolated) => {
                    tracing::warn!(provider = &**provider, by = &*isolated.by, "isolated at another replica");
                    self.isolate(provider, isolated);
                }
                None if is_isolated => {
                    tracing::warn!(provider = &**provider, "restored at another replica");
                    self.restore(provider);
                }
                None => {}
            }
        }
    }
}
