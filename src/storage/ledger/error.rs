//! Errors of the ledger's files, with advice on what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The entry could not be written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct NotWritten;

/// A key could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotClaimed {
    #[error("the ledger cannot be written")]
    NotWritten,
    #[error("another replica has claimed it")]
    Taken,
}

/// The ledger could not be read. The text has the database's message and what to do, never the values searched for.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}", remedy(.0))]
    Database(#[from] sqlx::Error),
    /// Entries that are on the disk, in the spool, are not in the database yet.
    #[error("the database cannot be written and lacks the latest entries, which wait in the spool; ask again later")]
    Behind,
    #[error("PostgreSQL does not answer; ask again later")]
    Away,
}

impl ReadError {
    /// Logs this as the reason of `what`. That PostgreSQL is away is said once, by `link`.
    pub(super) fn tell(&self, what: &'static str) {
        if !matches!(self, Self::Away) {
            tracing::error!(error = %self, "{what}");
        }
    }
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("ledger.file = {0:?}: there is no folder for it; make one that this user may write to, or name another")]
    NoFolder(PathBuf),
    #[error(
        "ledger.file = {0:?} is in use by another idgate; each needs a file of its own: stop that one, or name another"
    )]
    InUse(PathBuf),
    #[error(
        "the ledger's spool {0:?} is in use by another idgate; each needs files of its own: name another \
         ledger.spool_folder or ledger.file"
    )]
    SpoolInUse(PathBuf),
    #[error(
        "ledger.file = {0:?} has a second name (a hard link), under which another process could write to it; remove that \
         name, or make a copy with SQLite's .backup"
    )]
    Linked(PathBuf),
    #[error(
        "ledger.file = {path:?}: {what}: it is damaged; `idgate ledger verify` says where. Restore a copy, or move the file \
         and those beside it (-wal, -shm) away and keep them: idgate begins a new one"
    )]
    Damaged {
        /// The value of `ledger.file`.
        path: PathBuf,
        /// The first damage that was found.
        what: String,
    },
    #[error("ledger.file = {path:?}: {}", remedy(.source))]
    Database {
        /// The value of `ledger.file`.
        path: PathBuf,
        source: sqlx::Error,
    },
    #[error("ledger.file = {0:?}: {1}")]
    Read(PathBuf, ReadError),
    #[error("the ledger's file {path:?} cannot be used: {source}; see that this user may write to it")]
    Beside {
        /// The lock, journal or spool.
        path: PathBuf,
        source: io::Error,
    },
    #[error("the ledger's spool {0:?} is damaged: keep a copy, take out the line that is no entry, and start again")]
    Spool(PathBuf),
    /// A metric was declared wrongly, which is a bug.
    #[error("the ledger's metrics cannot be made: {0}")]
    Metrics(prometheus::Error),
    #[error("ledger.postgres: {0}")]
    Postgres(String),
    #[error("ledger.file = {0:?} is another program's, or a newer idgate's; name another file")]
    Foreign(PathBuf),
}

impl OpenError {
    pub(super) fn database(path: &Path, source: sqlx::Error) -> Self {
        Self::Database { path: path.to_owned(), source }
    }

    pub(super) fn beside(path: &Path, source: io::Error) -> Self {
        Self::Beside { path: path.to_owned(), source }
    }
}

/// The database's message and what to do about it, never the values bound to a statement.
pub(super) fn remedy(error: &sqlx::Error) -> String {
    let told = match error.as_database_error() {
        Some(database) => database.message().to_owned(),
        None => error.to_string(),
    };
    if let Some(database) = error.as_database_error()
        && database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
    {
        let code = database.code().unwrap_or_default();
        return format!("{told} ({code}): docs/scaling.md says what PostgreSQL needs");
    }
    if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Configuration(_)) {
        // Of the way to PostgreSQL; SQLite has no such errors.
        return told;
    }
    // The lowest byte of SQLite's extended result code is the primary code.
    let code = error.as_database_error().and_then(|database| database.code()?.parse::<i32>().ok());
    let what_to_do = match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another process holds it; end that process, such as a database shell",
        Some(8) => {
            "it is read-only; let this user write to the file and its folder, and see that the disk is not \
                    mounted read-only"
        }
        Some(10 | 13) => "the disk is full or failing; make room, or move the file to another disk",
        Some(11 | 26) => {
            "it is damaged; `idgate ledger verify` says where. Move the file and those beside it (-wal, -shm) \
                          away and keep them: idgate begins a new one"
        }
        Some(14 | 23) => "it cannot be opened; see that the folder is there and that this user may write to it",
        _ => "`idgate ledger verify` looks into it",
    };
    format!("{told}: {what_to_do}")
}
