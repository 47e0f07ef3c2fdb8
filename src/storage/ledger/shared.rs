//! State shared by the writer and the code that submits entries to it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::claims::Spooled;
use super::journal_thread::JournalThread;
use super::metrics::Meter;
use super::postgres::Link;
use super::spool::Room;

/// Such as `answer 2100, call 53`.
pub(super) fn by_kind(entries: &BTreeMap<&'static str, u64>) -> String {
    entries.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

/// Why the ledger takes no paid call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Unavailable {
    /// Another process has the name of this replica.
    NameTaken,
    /// One of its files was moved, deleted, replaced or given a second name, or its disk does not answer.
    FilesMoved,
    /// Neither the spool nor the database can be written.
    NotWritable,
    /// Calls cannot be announced in the journal.
    JournalNotWritable,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// The number of submitted entries that are not on the disk yet.
    pub(super) waiting: AtomicUsize,
    pub(super) journal: JournalThread,
    /// Whether the journal's last write succeeded in time.
    pub(super) can_announce: AtomicBool,
    pub(super) is_probing: AtomicBool,
    /// Whether the spool or the database can be written.
    pub(super) can_write: AtomicBool,
    /// Whether the files are where the next start will look for them.
    pub(super) in_place: AtomicBool,
    /// Whether somebody waits for what the flusher does.
    pub(super) is_flush_hurried: Arc<AtomicBool>,
    /// Entries about idempotency keys that are only in the spool.
    pub(super) spooled: Spooled,
    pub(super) meter: Meter,
    /// How full the spool is.
    pub(super) room: Arc<Room>,
    /// The way to PostgreSQL, if that is the record.
    pub(super) link: Option<Link>,
    #[cfg(test)]
    pub(super) spool_is_broken: AtomicBool,
}

impl Shared {
    /// Whether a paid call may begin: its announcement and its entries can be written.
    pub(super) fn is_keeping(&self) -> bool {
        self.can_write.load(Ordering::Relaxed)
            && self.can_announce.load(Ordering::Relaxed)
            && self.in_place.load(Ordering::Relaxed)
            && !self.is_taken()
    }

    fn is_taken(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_taken)
    }

    /// Why no paid call may begin; `None` if it may.
    pub(super) fn unavailable_reason(&self) -> Option<Unavailable> {
        if self.is_taken() {
            Some(Unavailable::NameTaken)
        } else if !self.in_place.load(Ordering::Relaxed) {
            Some(Unavailable::FilesMoved)
        } else if !self.can_write.load(Ordering::Relaxed) {
            Some(Unavailable::NotWritable)
        } else if !self.can_announce.load(Ordering::Relaxed) {
            Some(Unavailable::JournalNotWritable)
        } else {
            None
        }
    }

    /// Brings the metrics up to date. Called each second.
    pub(super) fn look(&self) {
        self.meter.look(self.room.used(), self.room.most());
        if let Some(link) = &self.link {
            let oldest = if self.meter.is_level() { Duration::ZERO } else { self.meter.oldest() };
            link.is_unmoved_for(oldest);
            self.meter.postgres(link.is_up(), link.all_sent_again(), &link.connections());
            self.meter.partition_missing(link.is_partition_missing());
            self.meter.available(self.is_keeping());
        }
    }

    pub(super) fn is_in_place(&self, is: bool) {
        self.in_place.store(is, Ordering::Relaxed);
        self.meter.available(self.is_keeping());
    }

    pub(super) fn writes(&self, can: bool) {
        self.can_write.store(can, Ordering::Relaxed);
        self.meter.available(self.is_keeping());
    }

    pub(super) fn announces(&self, can: bool) {
        self.can_announce.store(can, Ordering::Relaxed);
        self.meter.available(self.is_keeping());
    }

    /// Counts entries of these kinds as lost.
    pub(super) fn lost(&self, kinds: impl Iterator<Item = &'static str>) {
        let mut entries = BTreeMap::<_, u64>::new();
        for kind in kinds {
            self.meter.lost(kind);
            *entries.entry(kind).or_default() += 1;
        }
        tracing::error!(entries = by_kind(&entries), "ledger: entries are lost");
    }

    pub(super) fn cannot_announce(&self, error: &io::Error) {
        if self.is_keeping() {
            tracing::error!(%error, "ledger: the journal cannot be written; paid calls are refused");
        }
        self.announces(false);
    }

    /// Refuses paid calls until the writer has finished an append: what they bring could not be told.
    pub(super) fn append_timed_out(&self) {
        if self.is_keeping() {
            tracing::error!("ledger: the disk does not answer; an answer was not sent, and paid calls are refused");
        }
        self.writes(false);
    }

    /// Lets paid calls begin again once the journal can be written. At most one probe waits for a disk that hangs.
    pub(super) fn probe_journal(self: &Arc<Self>) {
        if self.is_probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(self);
        self.journal.submit(move |journal| {
            shared.is_probing.store(false, Ordering::Relaxed);
            if !shared.can_announce.load(Ordering::Relaxed) && journal.probe().is_ok() {
                tracing::warn!("ledger: the journal can be written again");
                shared.announces(true);
            }
        });
    }
}
