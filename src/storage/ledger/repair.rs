//! Completes, at start, what an earlier process left unfinished.

use std::path::PathBuf;

use super::entry::{Attempt, Entry};
use super::journal::Left;
use super::record::{self, Malformed};
use super::spool::Spool;
use super::store::AnyStore;
use crate::domain::clock::Clock;

/// How many entries are moved in one transaction, or somewhat more.
const PART: usize = 2048;

pub(super) enum RepairError {
    Database(sqlx::Error),
    /// This spool file is damaged.
    Spool(PathBuf),
}

/// Moves the spool's entries into the database, then records the calls and questions that the journal shows as
/// unfinished.
pub(super) async fn repair(
    store: &mut AnyStore,
    spools: &mut [Spool; 2],
    left: &[Left],
    clock: &Clock,
) -> Result<(), RepairError> {
    let database = RepairError::Database;
    let mut spooled = 0;
    for spool in spools {
        let damaged = |spool: &Spool| RepairError::Spool(spool.path().to_owned());
        while !spool.is_empty() {
            let part = spool.next(PART).map_err(|_| damaged(spool))?;
            let rows = record::rows(&part.records).map_err(|Malformed| damaged(spool))?;
            store.append(&rows, None).await.map_err(database)?;
            spool.moved(&part);
            spooled += part.count;
        }
    }
    let mut cut_off = 0;
    for Left { begun, calls } in left {
        let (mut entries, mut attempts) = (Vec::new(), Vec::new());
        for call in calls {
            let known = store.find(call.id).await.map_err(database)?;
            if let Some(Entry::Call(call)) = &known {
                attempts.push(Attempt::from(call));
            } else {
                let call = begun.call(call, clock.now().as_millisecond(), call.interrupted());
                attempts.push(Attempt::from(&call));
                entries.push(Entry::Call(call));
            }
        }
        if store.find(begun.id).await.map_err(database)?.is_none() {
            entries.push(Entry::Answer(begun.clone().cut_off(attempts)));
        }
        if !entries.is_empty() {
            store.append_entries(&entries).await.map_err(database)?;
            cut_off += 1;
        }
    }
    if spooled > 0 || cut_off > 0 {
        tracing::warn!(spooled, cut_off, "ledger: the process before this one left work half done; it is written down");
    }
    Ok(())
}
