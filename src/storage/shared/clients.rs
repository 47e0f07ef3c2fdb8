//! Rates and daily caps of clients, of all replicas together. They are written behind, so that a remembered answer waits
//! for nobody.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::client_share::{ClientShare, Told, lock};
use super::open::{Open, Shared};
use super::patience::Patience;
use super::script::Command;

/// How often a replica tells what it has admitted.
const TELLS: Duration = Duration::from_millis(100);

/// Each so many times, daily counts are also asked for where nothing was counted.
const ASKS_EACH: u32 = 10;

/// How many clients are told in one round trip.
const BATCH: usize = 256;

impl Shared {
    /// The limits of a client over all replicas; `None` if nothing is shared. A reload finds the same again.
    pub fn client(&self, name: &Arc<str>) -> Option<Arc<ClientShare>> {
        let open = self.0.as_ref()?;
        let mut clients = lock(&open.clients);
        if let Some(known) = clients.get(name).and_then(Weak::upgrade) {
            return Some(known);
        }
        let new = Arc::new(ClientShare::new(name, open.link.up_flag(), open.config.most));
        clients.insert(Arc::clone(name), Arc::downgrade(&new));
        Some(new)
    }
}

impl Open {
    /// Tells what clients were admitted here, and hears what they were elsewhere; never ends.
    pub(super) async fn tell_clients(&self) {
        let mut ticks = interval(TELLS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u32.. {
            ticks.tick().await;
            let asks = turn.is_multiple_of(ASKS_EACH);
            let mut told = Vec::new();
            lock(&self.clients).retain(|_, client| {
                let client = client.upgrade();
                // What is not told was within this replica's part.
                told.extend(client.iter().filter_map(|one| Some((Arc::clone(one), one.take(asks)?))));
                client.is_some()
            });
            if self.link.is_up() {
                for batch in told.chunks(BATCH) {
                    self.tell_some(batch).await;
                }
            }
        }
        std::future::pending().await
    }

    async fn tell_some(&self, batch: &[(Arc<ClientShare>, Told)]) {
        let mut pipe = redis::pipe();
        for (client, Told { step_us, admitted, day, own }) in batch {
            let mut cmd = Command::Client.on(&self.key("c", client.name.as_bytes()));
            cmd.arg(&self.incarnation).arg(*step_us).arg(*admitted).arg(*day).arg(*own);
            pipe.add_command(cmd);
        }
        let patience = Patience::of(self.config.patience);
        let heard: Result<Vec<(u64, u32)>, _> =
            self.link.send(Command::Client, &patience, async move |mut to| pipe.query_async(&mut to).await).await;
        for ((client, told), (debt_us, elsewhere)) in batch.iter().zip(heard.unwrap_or_default()) {
            client.heard(Duration::from_micros(debt_us), told.day, elsewhere);
        }
    }
}
