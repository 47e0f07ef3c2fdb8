//! How many numbers each client has asked about, at all replicas together. Redis counts them by HyperLogLog, in slices
//! of the window: a sixth each.

use std::time::Duration;

use super::open::{Open, Shared};
use super::patience::{Away, Patience, millis};
use super::script::Command;

/// A window has so many slices, and reaches into one more.
const SLICES: u64 = 6;

impl Shared {
    /// Counts a number that `client` had not asked about in this window. Nobody waits for it.
    pub fn asked_about(&self, client: [u8; 8], number: [u8; 8], window: Duration) {
        let Some(open) = &self.0 else { return };
        let (slice, length, _) = open.slice(window);
        let key = open.numbers_key(client, slice);
        let mut add = redis::cmd("PFADD");
        add.arg(&key).arg(&number);
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(&key).arg(length * (SLICES + 1));
        open.link.behind(Command::Numbers, add);
        open.link.behind(Command::Numbers, expire);
    }

    /// About how many numbers each of `clients` has asked about within `window`, here too.
    ///
    /// # Errors
    /// Redis is away: each replica's own count decides.
    pub async fn numbers_of(&self, clients: &[[u8; 8]], window: Duration) -> Result<Vec<u64>, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let (slice, length, into) = open.slice(window);
        let mut pipe = redis::pipe();
        for client in clients {
            let keys: Vec<_> = (0..=SLICES).map(|back| open.numbers_key(*client, slice.saturating_sub(back))).collect();
            let newest = keys.get(..keys.len() - 1).unwrap_or_default();
            pipe.cmd("PFCOUNT").arg(newest).cmd("PFCOUNT").arg(&keys);
        }
        let patience = Patience::of(open.config.patience);
        let counts: Vec<u64> =
            open.link.send(Command::Numbers, &patience, async move |mut to| pipe.query_async(&mut to).await).await?;
        // Of the oldest slice only the end is within the window.
        let left = length - into;
        let of = |pair: &[u64]| match pair {
            [newest, all] => newest + all.saturating_sub(*newest) * left / length,
            _ => 0,
        };
        Ok(counts.chunks(2).map(of).collect())
    }
}

impl Open {
    /// The number of the present slice, the length of one, and how much of it is over; in milliseconds.
    fn slice(&self, window: Duration) -> (u64, u64, u64) {
        let length = (millis(window) / SLICES).max(1);
        let now = u64::try_from(self.clock.now().as_millisecond()).unwrap_or_default();
        (now / length, length, now % length)
    }

    /// With the client in braces, so that a cluster would keep its slices together.
    fn numbers_key(&self, client: [u8; 8], slice: u64) -> Vec<u8> {
        self.key("m", &[b"{", &client[..], b"}:", slice.to_string().as_bytes()].concat())
    }
}
