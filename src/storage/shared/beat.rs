//! Says each second that this replica lives, and hears what the others say and have decided.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bus::Event;
use super::members::{LONGEST, MOST};
use super::open::{Open, Shared};
use super::patience::{Away, Patience};
use super::script::Command;

/// How often a replica says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// How often leaving is tried.
const LEAVES: usize = 3;

/// Reads a hash to which anybody who reaches Redis can write. The fields `known` are no surplus.
fn few(key: &[u8], known: impl IntoIterator<Item = String>) -> redis::Cmd {
    let mut cmd = Command::Few.on(key);
    cmd.arg(MOST).arg(LONGEST);
    for field in known {
        cmd.arg(field);
    }
    cmd
}

impl Open {
    /// Says each second that this replica lives, and hears from the others. This is what notices that Redis has stopped.
    pub(super) async fn beat(&self, events: &mpsc::Sender<Event>) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // One that is late may be chance; two are none.
            let mut heard = self.beat_once(events).await;
            if heard.is_err() && self.link.is_up() {
                heard = self.beat_once(events).await;
            }
            match heard {
                Ok(()) => self.land_again(),
                Err(Away) => self.members.cut_off(),
            }
            let (live, silent, differ) = self.members.count();
            self.meter.members(live, silent);
            self.meter.differ(differ.iter());
        }
    }

    async fn beat_once(&self, events: &mpsc::Sender<Event>) -> Result<(), Away> {
        let (members, said) = (&self.members, self.members.say());
        let decisions = self.key("i", b"");
        let mut pipe = redis::pipe();
        pipe.cmd("HSET").arg(&members.key).arg(&members.name).arg(said).ignore();
        pipe.add_command(few(members.key.as_bytes(), members.names()));
        pipe.add_command(few(&decisions, members.decisions().into_keys()));
        let patience = Patience::of(self.config.patience);
        let (all, decided): (BTreeMap<String, String>, BTreeMap<String, String>) =
            self.link.send(Command::Beat, &patience, async move |mut to| pipe.query_async(&mut to).await).await?;
        for gone in members.heard(&all) {
            let mut cmd = redis::cmd("HDEL");
            cmd.arg(&members.key).arg(gone);
            self.link.behind(Command::Beat, cmd);
        }
        let (is_news, lost) = members.compare(decided);
        for (provider, ours) in lost {
            self.link.behind(Command::Decide, self.decide(&provider, &ours));
        }
        if is_news {
            // Without room for it messages are lost too, and then everything is looked at again.
            let _ = events.try_send(Event::Decided);
        }
        Ok(())
    }

    fn decide(&self, provider: &str, decision: &str) -> redis::Cmd {
        let (at, said) = decision.split_once(':').unwrap_or_default();
        let mut cmd = Command::Decide.on(&self.key("i", b""));
        cmd.arg(provider).arg(at).arg(said).arg(self.channel());
        cmd
    }

    pub(super) async fn leave(&self) {
        let members = &self.members;
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(&members.key).arg(&members.name);
        for _ in 0..LEAVES {
            // Queued, so that what was queued before has been told by then.
            let (heard, hears) = oneshot::channel();
            self.link.behind_then(Command::Beat, cmd.clone(), move |answer| {
                // It may have been too long.
                let _ = heard.send(answer.is_some());
            });
            match timeout(self.config.patience * 2, hears).await {
                Ok(Ok(false)) => {}
                _ => return,
            }
        }
        // The others notice the silence.
    }
}

impl Shared {
    /// Tells the other replicas what an operator has decided about a provider at `at_ms`.
    pub fn decided(&self, provider: &str, at_ms: i64, said: &str) {
        let Some(open) = &self.0 else { return };
        let decision = open.members.decide(provider, at_ms, said);
        open.link.behind(Command::Decide, open.decide(provider, &decision));
    }

    /// The newest decision about each provider: when (milliseconds since 1970), and what.
    pub fn decisions(&self) -> Vec<(String, i64, String)> {
        let Some(open) = &self.0 else { return Vec::new() };
        let of = |(provider, decision): (String, String)| {
            let (at, said) = decision.split_once(':')?;
            Some((provider, at.parse().ok()?, said.to_owned()))
        };
        open.members.decisions().into_iter().filter_map(of).collect()
    }
}
