//! What a start finishes that an earlier process has left half written.

use super::entry::{Attempt, Entry};
use super::journal::Left;
use super::spool::Spool;
use super::sqlite::Store;
use super::writer::BATCH;
use crate::domain::clock::Clock;

pub(super) enum RepairError {
    Database(sqlx::Error),
    Spool,
}

/// Brings into the database what waits in the spool, and what the journal knows of that never ended.
pub(super) async fn repair(
    store: &mut Store,
    spool: &mut Spool,
    left: &[Left],
    clock: &Clock,
) -> Result<(), RepairError> {
    let database = RepairError::Database;
    let mut spooled = 0;
    let mut entries = spool.read().map_err(|_| RepairError::Spool)?;
    loop {
        let part = entries.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>().map_err(|_| RepairError::Spool)?;
        if part.is_empty() {
            break;
        }
        store.append(part.iter()).await.map_err(database)?;
        spooled += part.len();
    }
    spool.clear().map_err(|_| RepairError::Spool)?;
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
            store.append(entries.iter()).await.map_err(database)?;
            cut_off += 1;
        }
    }
    if spooled > 0 || cut_off > 0 {
        tracing::warn!(spooled, cut_off, "ledger: the process before this one left work half done; it is written down");
    }
    Ok(())
}
