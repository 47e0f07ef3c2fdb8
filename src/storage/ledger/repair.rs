//! Completes, at start, what an earlier process left unfinished.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use super::entry::{Attempt, Entry};
use super::journal::Left;
use super::record::{self, Malformed};
use super::spool::{self, Spool};
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

/// What a start leaves to the flusher because the database is away.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Postponed {
    /// How many entries both files hold.
    pub(super) entries: usize,
}

/// Like [`repair`], without the database: the calls and questions that the journal shows as unfinished go to the spool.
/// What is known of them is looked up there and in `kept`, batches that were sent a short time ago; the database skips
/// what it has already. Blocks the thread.
pub(super) fn postpone(
    [older, younger]: &mut [Spool; 2],
    left: &[Left],
    kept: &[PathBuf],
    clock: &Clock,
) -> io::Result<Postponed> {
    let wanted = left.iter().flat_map(|Left { begun, calls }| calls.iter().map(|call| call.id).chain([begun.id]));
    let mut known: HashMap<Uuid, Option<Entry>> = wanted.map(|id| (id, None)).collect();
    let mut look = |records: &[u8]| {
        let rows = record::rows(records).unwrap_or_default();
        for row in &rows {
            if let Some(place) = Uuid::try_parse(row.id).ok().and_then(|id| known.get_mut(&id)) {
                *place = serde_json::from_str(row.text).ok();
            }
        }
        rows.len()
    };
    let mut entries = 0;
    for spool in [&*older, &*younger] {
        spool.each(|records, is_left| {
            let rows = look(records);
            entries += if is_left { rows } else { 0 };
        })?;
    }
    for path in kept {
        spool::each_frame(&File::open(path)?, u64::MAX, |records| _ = look(records))?;
    }
    let (mut records, mut count) = (Vec::new(), 0);
    for Left { begun, calls } in left {
        let mut attempts = Vec::new();
        let mut add = |entry: &Entry| {
            count += 1;
            record::write(entry, &mut records).map_err(io::Error::from)
        };
        for call in calls {
            if let Some(Some(Entry::Call(call))) = known.get(&call.id) {
                attempts.push(Attempt::from(call));
                continue;
            }
            let call = begun.call(call, clock.now().as_millisecond(), call.interrupted());
            attempts.push(Attempt::from(&call));
            add(&Entry::Call(call))?;
        }
        if known.get(&begun.id).is_none_or(Option::is_none) {
            add(&Entry::Answer(begun.clone().cut_off(attempts)))?;
        }
    }
    younger.append(&records, count)?;
    let entries = entries + count;
    if entries > 0 {
        tracing::warn!(entries, "ledger: what the process before this one left waits in the spool for PostgreSQL");
    }
    Ok(Postponed { entries })
}
