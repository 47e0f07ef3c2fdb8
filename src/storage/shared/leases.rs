//! A question among the replicas: look the verdict up and take the lease in one step, wait for its owner, land.
//!
//! A lease is a courtesy, not a lock: lost, it costs one more call, never an answer. It lives longer than the longest
//! flight and is never renewed; a dead owner is noticed by its silence.

use std::time::Duration;

use redis::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::bus::Waiting;
use super::limits::Tried;
use super::metrics::Role;
use super::open::{Open, Shared};
use super::patience::{Away, Patience, millis};
use super::place::Place;
use super::script::Command;
use super::told::{Lease, Told};
use super::unlanded::Waits;
use super::verdict;
use crate::storage::cache::Remembered;

/// Longer than any verdict may be old.
const NEVER: i64 = 9_000_000_000_000_000;

/// The kind byte of a verdict, in the ending that waiting flights read.
const VERDICT: u8 = 0;

/// What a question asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub place: Place,
    /// The oldest verdict that will do, of a match, a mismatch and a `no_record`; `None`: none will.
    pub oldest_ms: [Option<i64>; 3],
    /// Longer than the longest flight.
    pub lease: Duration,
    /// Whether to take the lease, or only to look.
    pub may_lead: bool,
    /// Whether the end of an earlier call, which may yet be billed, is an answer.
    pub recalls: bool,
    /// The id of the flight that would lead.
    pub flight: Uuid,
}

/// What is known of a question elsewhere.
#[derive(Debug)]
pub enum Look {
    /// A verdict that will do.
    Known(Remembered),
    /// The lease is ours.
    Mine(Lease),
    /// The call that was waited for has ended.
    Ended(Ending, Uuid),
    /// An earlier call of another replica ended without a verdict and may yet be billed: the kind of failure, and for
    /// how long nobody should ask again.
    Unanswered { kind: u8, left: Duration },
    /// Another replica calls.
    Waits,
    /// Nobody knows, and only a look was wanted.
    Nothing,
    /// The name was one too many; wait so long. The lease may be ours all the same.
    Refused(Duration, Option<Lease>),
}

/// How a call elsewhere ended.
#[derive(Debug, Clone)]
pub enum Ending {
    Verdict(Remembered),
    Failed { kind: u8, retry: Duration, client: [u8; 8], may_be_billed: bool },
}

/// How a landing went.
#[derive(Debug, Clone, PartialEq)]
pub struct Landed {
    /// Whether the lease was still ours.
    pub is_ours: bool,
    /// Another replica's verdict that stays in place of ours, because it is newer or its lease was.
    pub stays: Option<Remembered>,
}

/// A question that waits for another replica.
#[derive(Debug)]
struct Awaited<'a> {
    waiting: Waiting<'a>,
    token: [u8; 24],
    since: Instant,
}

impl Shared {
    /// Looks once: a verdict that will do, or the lease, or another's lease.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn look(&self, wanted: &Wanted, patience: &Patience) -> Result<Look, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        open.ask(wanted, None, None, None, patience).await.map(|(look, _)| look)
    }

    /// Like [`Self::look`], and waits for a call elsewhere: until it ends, its owner falls silent, or Redis goes. Counts
    /// `tried` in the same round trip.
    ///
    /// # Errors
    /// Redis is away: lead alone.
    pub async fn converse(
        &self,
        wanted: &Wanted,
        mut tried: Option<&Tried>,
        patience: &Patience,
    ) -> Result<Look, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        // Registered before the first look, or the end could fall between the two.
        let mut awaited = Awaited { waiting: open.bus.wait(wanted.place), token: [0; 24], since: Instant::now() };
        let mut patience = patience.clone();
        let mut gone: Option<Instant> = None;
        loop {
            let dead =
                open.members.is_silent(&awaited.token, awaited.since, open.config.takeover).then_some(awaited.token);
            match open.ask(wanted, tried.take(), dead, Some(awaited.token), &patience).await {
                // Redis is slow, and so would be the news of the end.
                Ok((Look::Waits, _)) if awaited.token == [0; 24] && patience.left() * 2 < open.config.patience => {
                    return Err(Away);
                }
                Ok((Look::Waits, token)) => {
                    gone = None;
                    if token != awaited.token {
                        (awaited.token, awaited.since) = (token, Instant::now());
                        // Its end may already be there, under the token that is known only now.
                        continue;
                    }
                }
                Ok((look, _)) => {
                    if dead.is_some() && matches!(look, Look::Mine(_)) {
                        open.meter.question(Role::TakenOver);
                    }
                    return Ok(look);
                }
                // Redis gets a little time to come back: the call elsewhere goes on meanwhile.
                Err(Away) if awaited.token != [0; 24] && gone.get_or_insert_with(Instant::now).elapsed() < POLL => {}
                Err(Away) => return Err(Away),
            }
            let nap = if gone.is_some() { POLL / 5 } else { POLL };
            // The poll is the net under the bus.
            let _ = tokio::time::timeout(nap, awaited.waiting.woken()).await;
            // A new wait for Redis costs the caller nothing that it does not wait for anyway.
            patience = Patience::of(open.config.patience);
        }
    }

    /// Tells the other replicas how the call of `lease` ended.
    ///
    /// # Errors
    /// Redis is away. A verdict is told once more when it is back.
    pub async fn land(&self, lease: &Lease, told: Told<'_>, patience: &Patience) -> Result<Landed, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let cmd = open.landing(lease, &told);
        let landed: Result<(u8, Vec<u8>), Away> =
            open.link.send(Command::Land, patience, async move |mut to| cmd.query_async(&mut to).await).await;
        let (landed, stays) = landed.inspect_err(|Away| {
            open.unlanded.keep(lease, &told);
            // It may never have been sent, and others wait for it. What comes twice does nothing.
            if open.link.is_up() {
                open.link.behind(Command::Land, open.landing(lease, &told));
            }
        })?;
        match landed {
            2 => open.meter.forgotten_late(),
            0 if lease.is_granted() => open.meter.question(Role::Lost),
            _ => {}
        }
        let stays = if stays.is_empty() { None } else { open.verdict(&stays, lease.place) };
        Ok(Landed { is_ours: landed == 1, stays })
    }

    /// The lease of a question whose answer from Redis was lost on the way: it may be ours, and others may wait for it.
    pub fn presumed(&self, wanted: &Wanted) -> Option<Lease> {
        Some(Lease { token: self.0.as_ref()?.token(wanted), began_ms: 0, place: wanted.place })
    }

    /// Like [`Self::land`], but nobody waits for it.
    pub fn land_behind(&self, lease: &Lease, told: Told<'_>) {
        let Some(open) = &self.0 else { return };
        match open.link.is_up() {
            true => open.link.behind(Command::Land, open.landing(lease, &told)),
            false => open.unlanded.keep(lease, &told),
        }
    }
}

/// How often a waiting flight looks, whatever the bus says; and how long Redis may be gone meanwhile.
const POLL: Duration = Duration::from_millis(250);

impl Open {
    fn token(&self, wanted: &Wanted) -> [u8; 24] {
        let mut token = [0; 24];
        let parts = self.incarnation.iter().chain(wanted.flight.as_bytes());
        token.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        token
    }

    /// Tells what could not be told, now that Redis answers.
    pub(super) fn land_again(&self) {
        let (all, now) = (self.unlanded.take(), Instant::now());
        for Waits { lease, verdict, ends } in all {
            let life = ends.saturating_duration_since(now);
            if !life.is_zero() {
                self.link.behind(Command::Land, self.landing(&lease, &Told::Verdict(&verdict, life)));
            }
        }
    }

    fn landing(&self, lease: &Lease, told: &Told<'_>) -> redis::Cmd {
        let mut again = (0, Duration::ZERO);
        let (verdict, life, tells) = match *told {
            Told::Verdict(remembered, life) => {
                let bytes = verdict::write(remembered, lease.place, &self.digest_key);
                let tells = [&[VERDICT], &*bytes].concat();
                (bytes, life, tells)
            }
            Told::Failed { kind, retry, client, may_be_billed, again: told_again } => {
                again = told_again.unwrap_or(again);
                let retry = u32::try_from(millis(retry)).unwrap_or(u32::MAX).to_be_bytes();
                (Vec::new(), Duration::ZERO, [&[kind], &retry[..], &client, &[u8::from(may_be_billed)]].concat())
            }
        };
        let mut cmd = Command::Land.on(&self.key_of(&lease.place.person));
        cmd.arg(&lease.place.scope).arg(&lease.token).arg(lease.began_ms).arg(verdict).arg(millis(life));
        cmd.arg(tells).arg(self.channel()).arg(millis(again.1)).arg(&[again.0]);
        cmd
    }

    async fn ask(
        &self,
        wanted: &Wanted,
        tried: Option<&Tried>,
        dead: Option<[u8; 24]>,
        awaited: Option<[u8; 24]>,
        patience: &Patience,
    ) -> Result<(Look, [u8; 24]), Away> {
        let token = self.token(wanted);
        let mut cmd = Command::Ask.on(&self.key_of(&wanted.place.person));
        cmd.arg(&wanted.place.scope).arg(if wanted.may_lead { &token[..] } else { b"" }).arg(millis(wanted.lease));
        for oldest in wanted.oldest_ms {
            cmd.arg(oldest.unwrap_or(NEVER));
        }
        cmd.arg(dead.as_ref().map_or(&b""[..], |dead| &dead[..]));
        cmd.arg(awaited.as_ref().map_or(&b""[..], |awaited| &awaited[..])).arg(u8::from(wanted.recalls));
        let (wait, answer) = match tried.map(|tried| self.trying(tried)) {
            None => {
                let query = async move |mut to| cmd.query_async(&mut to).await;
                (0, self.link.send(Command::Ask, patience, query).await?)
            }
            Some(trying) => {
                let mut pipe = redis::pipe();
                pipe.add_command(trying).add_command(cmd);
                let query = async move |mut to| pipe.query_async::<(u64, Vec<Value>)>(&mut to).await;
                self.link.send(Command::Ask, patience, query).await?
            }
        };
        let read = self.read(wanted, token, &answer);
        if wait > 0 {
            let lease = if let Some((Look::Mine(lease), _)) = read { Some(lease) } else { None };
            return Ok((Look::Refused(Duration::from_millis(wait), lease), token));
        }
        if let Some(read) = read {
            return Ok(read);
        }
        // What does not verify is a miss: pass it by, and the landing replaces it.
        let passed_by = Wanted { oldest_ms: [None; 3], ..*wanted };
        match passed_by.oldest_ms == wanted.oldest_ms {
            true => Err(Away),
            false => Box::pin(self.ask(&passed_by, None, dead, awaited, patience)).await,
        }
    }

    fn read(&self, wanted: &Wanted, token: [u8; 24], answer: &[Value]) -> Option<(Look, [u8; 24])> {
        let none = [0; 24];
        let kind = text(answer.first()?)?;
        let value = answer.get(1).and_then(text).unwrap_or_default();
        Some(match kind {
            b"V" => (Look::Known(self.verdict(value, wanted.place)?), none),
            b"M" => {
                let Some(Value::Int(began_ms)) = answer.get(1) else { return None };
                (Look::Mine(Lease { token, began_ms: *began_ms, place: wanted.place }), token)
            }
            b"U" => {
                let Some(Value::Int(left)) = answer.get(2) else { return None };
                let left = Duration::from_millis(u64::try_from(*left).unwrap_or_default());
                (Look::Unanswered { kind: *value.get(24)?, left }, none)
            }
            b"W" => (Look::Waits, *value.get(9..33)?.first_chunk::<24>()?),
            b"E" => {
                let flight = Uuid::from_slice(value.get(17..33)?).ok()?;
                (Look::Ended(self.ending(value.get(33..)?, wanted.place)?, flight), none)
            }
            _ => (Look::Nothing, none),
        })
    }

    fn ending(&self, tells: &[u8], place: Place) -> Option<Ending> {
        let (kind, rest) = tells.split_first()?;
        if *kind == VERDICT {
            return self.verdict(rest, place).map(Ending::Verdict);
        }
        let (retry, rest) = rest.split_first_chunk::<4>()?;
        let (client, rest) = rest.split_first_chunk::<8>()?;
        let retry = Duration::from_millis(u32::from_be_bytes(*retry).into());
        Some(Ending::Failed { kind: *kind, retry, client: *client, may_be_billed: rest.first() == Some(&1) })
    }

    fn verdict(&self, bytes: &[u8], place: Place) -> Option<Remembered> {
        match verdict::read(bytes, place, &self.digest_key, &self.clock) {
            Ok(remembered) => Some(remembered),
            Err(verdict::Unreadable::Unknown) => None,
            Err(verdict::Unreadable::Forged) => {
                self.meter.forged();
                tracing::error!("a verdict in the shared Redis was not written by a replica; it is not believed");
                None
            }
        }
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}
