//! Forgetting a person at every replica, and knowing which of them have done it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::acknowledged::Acknowledge;
use super::open::{Open, Shared};
use super::patience::{Patience, millis};
use super::script::Command;
use crate::domain::subject::Digest;

/// How long the others may take to say that they have forgotten.
const WITHIN: Duration = Duration::from_millis(250);

/// What Redis had about a person, and which replicas have not said that they have forgotten them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForgottenElsewhere {
    /// Whether Redis has erased it, and so the others were told.
    pub is_told: bool,
    pub verdicts: u64,
    pub holds: u64,
    /// The replicas that there are, with this one.
    pub of: usize,
    /// Those that did not answer: silent, cut off, or slow.
    pub unconfirmed: Vec<String>,
}

impl Shared {
    /// Erases what Redis has about a person, and has the other replicas do so. `work` is the longest that a call takes:
    /// what lands within it is refused.
    pub async fn forget(&self, person: Digest, number: Digest, work: Duration) -> ForgottenElsewhere {
        let Some(open) = &self.0 else { return ForgottenElsewhere::default() };
        self.forget_here(&person);
        let mut what = [0; 16];
        let random = open.random();
        what.iter_mut().zip(open.incarnation.iter().chain(&random)).for_each(|(to, from)| *to = *from);
        open.acknowledged.lock().insert(what, BTreeSet::new());
        let message = [b"X", &person.as_bytes()[..], &number.as_bytes()[..], &what].concat();
        let mut cmd = Command::Forget.on(&open.key_of(&person));
        cmd.arg(millis(work + Duration::from_secs(5))).arg(open.channel()).arg(message);
        let patience = Patience::of(open.config.patience);
        let found: Result<(u64, u64, u64), _> =
            open.link.send(Command::Forget, &patience, async move |mut to| cmd.query_async(&mut to).await).await;
        let is_told = found.is_ok();
        if is_told {
            let _ = timeout(WITHIN, open.all_have(what)).await;
        }
        let known = open.acknowledged.lock().remove(&what).unwrap_or_default();
        let others = open.members.others();
        let unconfirmed = others.iter().filter(|other| !known.contains(&other.incarnation));
        let unconfirmed = unconfirmed.map(|other| other.name.clone()).collect();
        let (verdicts, holds, _) = found.unwrap_or_default();
        ForgottenElsewhere { is_told, verdicts, holds, of: others.len() + 1, unconfirmed }
    }

    /// Drops what this replica would still tell the others about a person.
    pub fn forget_here(&self, person: &Digest) {
        if let Some(open) = &self.0 {
            open.unlanded.forget(person);
        }
    }

    /// Tells the replica that asked for it that this one has forgotten.
    pub fn has_forgotten(&self, Acknowledge(what): Acknowledge) {
        if let Some(open) = &self.0 {
            open.publish([b"A", &what[..], &open.incarnation].concat());
        }
    }
}

impl Open {
    /// Waits until every living replica has acknowledged.
    async fn all_have(&self, what: [u8; 16]) {
        loop {
            // Registered before the look, or the last word could fall between the two.
            let heard = self.acknowledged.heard.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let missing = {
                let waiting = self.acknowledged.lock();
                let known = waiting.get(&what);
                let is_known = |by: &[u8; 8]| known.is_some_and(|known| known.contains(by));
                self.members.others().iter().any(|other| !other.is_silent && !is_known(&other.incarnation))
            };
            if !missing {
                return;
            }
            heard.await;
        }
    }
}
