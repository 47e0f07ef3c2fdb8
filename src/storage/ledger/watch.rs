//! Looks every few seconds whether the ledger's files are where they were: what is written to a file that was moved,
//! deleted or replaced is not where the next start looks for it. Paid calls are refused until the same file is back.
//!
//! The looks run off the workers and have a deadline, because a mount may hang.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::files::Identity;
use super::shared::Shared;
use super::wal::Wal;

const EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2000 });
/// How long the disk may take to answer a look.
const WITHIN: Duration = Duration::from_secs(5);

/// The files of a ledger as they were when it was opened.
#[derive(Debug)]
pub(super) struct Places {
    /// With its write-ahead log; `None` if the record is elsewhere.
    pub(super) database: Option<((PathBuf, Identity), Arc<Wal>)>,
    pub(super) spools: [(PathBuf, Identity); 2],
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// This path leads nowhere, or to another file.
    NotThere(PathBuf),
    /// This file has a second name, under which another process could write to it.
    Linked(PathBuf),
    DoesNotAnswer,
}

impl Places {
    fn look(&self) -> Option<Fault> {
        for (path, identity) in self.database.iter().map(|(database, _)| database).chain(&self.spools) {
            if !identity.is_at(path) {
                return Some(Fault::NotThere(path.clone()));
            }
        }
        let ((path, identity), wal) = self.database.as_ref()?;
        if !wal.is_in_place() {
            return Some(Fault::NotThere(wal.path().to_owned()));
        }
        (!identity.has_one_name(path)).then(|| Fault::Linked(path.clone()))
    }
}

/// Looks until `closing`, or until the ledger is dropped.
pub(super) async fn watch(places: Places, shared: Weak<Shared>, closing: CancellationToken) {
    let places = Arc::new(places);
    let looking = async {
        let mut known = None;
        loop {
            sleep(EVERY).await;
            let look = Arc::clone(&places);
            let mut looked = tokio::task::spawn_blocking(move || look.look());
            let mut fault =
                timeout(WITHIN, &mut looked).await.map_or(Some(Fault::DoesNotAnswer), Result::unwrap_or_default);
            let Some(shared) = shared.upgrade() else { return };
            if fault.is_none() {
                // The journal is replaced by its own thread now and then. A disk that hangs is noticed by its next call.
                let seen = shared.journal.run(|journal| Ok((journal.is_in_place(), journal.path().to_owned()))).await;
                fault = seen.ok().filter(|(is_in_place, _)| !is_in_place).map(|(_, path)| Fault::NotThere(path));
            }
            if fault != known {
                tell(fault.as_ref());
                shared.is_in_place(fault.is_none());
                known.clone_from(&fault);
            }
            drop(shared);
            if fault == Some(Fault::DoesNotAnswer) {
                // One thread at most is lost to a disk that hangs.
                let _ = looked.await;
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = closing.cancelled() => {}
    }
}

fn tell(fault: Option<&Fault>) {
    match fault {
        None => tracing::warn!("ledger: its files are back where they were; paid calls are made again"),
        Some(Fault::NotThere(path)) => tracing::error!(
            file = %path.display(),
            "ledger: this file was moved, deleted or replaced, so the next start will not find what is written now; paid \
             calls are refused until the same file is back. docs/ledger.md says how to save a deleted one"
        ),
        Some(Fault::Linked(path)) => tracing::error!(
            file = %path.display(),
            "ledger: this file has been given a second name (a hard link), under which another process could write to it; \
             paid calls are refused until that name is removed"
        ),
        Some(Fault::DoesNotAnswer) => {
            tracing::error!(
                "ledger: the disk does not answer when asked for the files; paid calls are refused until it does"
            );
        }
    }
}
