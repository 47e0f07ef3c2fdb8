//! Limits that hold for all replicas together: holds, the account's rate, extra attempts, names tried, nonces.

use std::num::NonZeroU32;
use std::time::Duration;

use super::open::{Open, Shared};
use super::patience::{Away, Patience, millis};
use super::script::Command;
use crate::domain::subject::Digest;

/// What must be granted before a call.
#[derive(Debug, Clone, Copy)]
pub struct Booking<'a> {
    pub person: Digest,
    pub provider: &'a str,
    /// The most calls about the person in `window`.
    pub calls: usize,
    pub window: Duration,
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
    /// The most extra attempts in a minute, if this is one.
    pub extra: Option<u32>,
}

/// A name that a client tries for a number, by its keyed digests.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    pub number: [u8; 16],
    pub client: [u8; 8],
    pub name: [u8; 8],
    /// How many names are allowed in `window`.
    pub most: usize,
    pub window: Duration,
}

/// Why a call may not be made, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Hold(Duration),
    Rate(Duration),
    Extra,
}

impl Shared {
    /// Books a call about a person with a provider: none is made without.
    ///
    /// # Errors
    /// Redis is away: the local limits decide, divided by the number of replicas.
    pub async fn admit(&self, booking: &Booking<'_>, patience: &Patience) -> Result<Result<(), Refusal>, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let mut pipe = redis::pipe();
        let person = open.key_of(&booking.person);
        let mut book = Command::Book.on(&person);
        book.arg(booking.provider).arg(booking.calls).arg(millis(booking.window));
        pipe.add_command(book).add_command(open.rate(booking.provider, booking.per_second, booking.burst, None));
        if let Some(most) = booking.extra {
            let mut extra = Command::Extra.on(&open.key("e", b""));
            extra.arg(most);
            pipe.add_command(extra);
        }
        let granted: Vec<i64> =
            open.link.send(Command::Admit, patience, async move |mut to| pipe.query_async(&mut to).await).await?;
        let (hold, rate, extra) = (granted.first(), granted.get(1), granted.get(2));
        let wait = |left: &i64| u64::try_from(*left).unwrap_or_default();
        let refusal = match (hold, rate, extra) {
            (Some(left @ 1..), ..) => Some(Refusal::Hold(Duration::from_millis(wait(left)))),
            (_, Some(left @ 1..), _) => Some(Refusal::Rate(Duration::from_micros(wait(left)))),
            (.., Some(0)) => Some(Refusal::Extra),
            _ => None,
        };
        // A token of the rate is lost; a booking is given back.
        if hold == Some(&0) && refusal.is_some() {
            self.unbook(booking.person, booking.provider);
        }
        Ok(refusal.map_or(Ok(()), Err))
    }

    /// Gives a booking back: the call was not made.
    pub fn unbook(&self, person: Digest, provider: &str) {
        let Some(open) = &self.0 else { return };
        let mut cmd = Command::Unbook.on(&open.key_of(&person));
        cmd.arg(provider);
        open.link.behind(Command::Unbook, cmd);
    }

    /// Holds a person off a provider that has refused them.
    pub fn hold(&self, person: Digest, provider: &str, first: Duration, longest: Duration) {
        let Some(open) = &self.0 else { return };
        let mut cmd = Command::Hold.on(&open.key_of(&person));
        cmd.arg(provider).arg(millis(first)).arg(millis(longest));
        open.link.behind(Command::Hold, cmd);
    }

    /// Stops all calls to a provider that asks for a pause.
    pub fn pause(&self, provider: &str, per_second: NonZeroU32, pause: Duration) {
        let Some(open) = &self.0 else { return };
        open.link.behind(Command::Rate, open.rate(provider, per_second, per_second, Some(pause)));
    }

    /// Counts a name that a client tries for a number; the time to wait if there were too many.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn try_name(&self, tried: &Tried, patience: &Patience) -> Result<Result<(), Duration>, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let cmd = open.trying(tried);
        let wait: u64 =
            open.link.send(Command::TryName, patience, async move |mut to| cmd.query_async(&mut to).await).await?;
        Ok(if wait == 0 { Ok(()) } else { Err(Duration::from_millis(wait)) })
    }

    /// Takes a nonce of a key for `ttl`; false if another replica has.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn take_nonce(&self, key: &str, nonce: &str, ttl: Duration, patience: &Patience) -> Result<bool, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let digest = open.digest_key.digest("nonce/v1", &[key.as_bytes(), nonce.as_bytes()]);
        let mut cmd = redis::cmd("SET");
        cmd.arg(open.key("o", digest.as_bytes())).arg("1").arg("NX").arg("PX").arg(millis(ttl).max(1));
        let taken: Option<String> =
            open.link.send(Command::Nonce, patience, async move |mut to| cmd.query_async(&mut to).await).await?;
        Ok(taken.is_some())
    }
}

impl Open {
    /// The answer is 0, or the milliseconds to wait.
    pub(super) fn trying(&self, tried: &Tried) -> redis::Cmd {
        let mut cmd = Command::TryName.on(&self.key("n", &tried.number));
        cmd.arg(&tried.client).arg(&tried.name).arg(tried.most).arg(millis(tried.window));
        cmd
    }

    fn rate(&self, provider: &str, per_second: NonZeroU32, burst: NonZeroU32, pause: Option<Duration>) -> redis::Cmd {
        let mut rate = Command::Rate.on(&self.key("a", provider.as_bytes()));
        rate.arg(1_000_000 / per_second.get()).arg(burst.get()).arg(pause.map_or(0, millis));
        rate
    }
}
