//! Reserving and writing totals.

use std::sync::{Arc, PoisonError};

use super::open::Shared;
use super::patience::{Away, Patience};
use super::script::Command;
use super::totals::{Granted, Others, Owner, Totals};

impl Shared {
    /// Whose turn it is to reserve for an owner: reservations on their way at once would each be refused because of the
    /// others, and leave some of the budget unsold.
    pub fn turn(&self, owner: Owner, name: &Arc<str>) -> Arc<tokio::sync::Mutex<()>> {
        let Some(open) = &self.0 else { return Arc::default() };
        let mut turns = open.totals.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry((owner, Arc::clone(name))).or_default())
    }

    /// Writes our totals with one more call, unless that exceeds one of `limits`.
    ///
    /// # Errors
    /// Redis is away: the local slice decides.
    pub async fn reserve(
        &self,
        (owner, name): (Owner, &str),
        totals: Totals,
        limits: [Option<u64>; 4],
        patience: &Patience,
    ) -> Result<Granted, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let mut cmd = Command::Reserve.on(&open.key(owner.letter(), name.as_bytes()));
        cmd.arg(&open.config.replica).arg(open.totals.next()).arg(totals.day).arg(totals.month);
        cmd.arg(&totals.used);
        cmd.arg(&limits.map(|limit| limit.map(|limit| limit.to_string()).unwrap_or_default()));
        let answer: Vec<i64> =
            open.link.send(Command::Reserve, patience, async move |mut to| cmd.query_async(&mut to).await).await?;
        let Some((full, others)) = answer.split_first() else { return Err(Away) };
        let others = read(others);
        Ok(match *full {
            0 => Granted::Yes(others),
            1..=4 => Granted::Full(usize::try_from(full - 1).unwrap_or_default(), others),
            _ => Granted::Incomplete,
        })
    }

    /// Writes our totals; what others have, or `None` if not all of them have said it.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn write_totals(&self, (owner, name): (Owner, &str), totals: Totals) -> Result<Option<Others>, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let mut cmd = Command::Totals.on(&open.key(owner.letter(), name.as_bytes()));
        cmd.arg(&open.config.replica).arg(open.totals.next()).arg(totals.day).arg(totals.month);
        cmd.arg(&totals.used);
        cmd.arg(open.members.live());
        let patience = self.patience();
        let answer: Vec<i64> =
            open.link.send(Command::Totals, &patience, async move |mut to| cmd.query_async(&mut to).await).await?;
        Ok(answer.split_first().filter(|(first, _)| **first == 0).map(|(_, others)| read(others)))
    }

    /// Says whether a budget is divided among the replicas now.
    pub fn is_divided(&self, owner: Owner, name: &str, is_divided: bool) {
        if let Some(open) = &self.0 {
            open.meter.slice(owner.as_str(), name, is_divided);
        }
    }
}

fn read(others: &[i64]) -> Others {
    let mut sums = [0; 4];
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum = u64::try_from(*other).unwrap_or_default());
    Others(sums)
}
