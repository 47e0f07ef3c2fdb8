//! What goes wrong with the ledger's files, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// It could not be written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct NotWritten;

/// The ledger could not be read. Says what the database says and what to do; never what was looked for.
#[derive(Debug, thiserror::Error)]
#[error("{}", remedy(.0))]
pub struct ReadError(sqlx::Error);

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder is missing, or is none.
    #[error("ledger.file = {0:?}: there is no folder for it; make one that this user may write to, or name another")]
    NoFolder(PathBuf),
    /// Another process has it.
    #[error(
        "ledger.file = {0:?} is in use by another idgate; each needs a file of its own: stop that one, or name another"
    )]
    InUse(PathBuf),
    /// The database refuses.
    #[error("ledger.file = {path:?}: {}", remedy(.source))]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The database cannot be opened for reading.
    #[error("ledger.file = {0:?}: {1}")]
    Read(PathBuf, ReadError),
    /// A file beside it.
    #[error("the ledger's file {path:?} cannot be used: {source}; see that this user may write to it")]
    Beside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What waits in the spool is not what was written there.
    #[error("the ledger's spool {0:?} is damaged: keep a copy, take out the line that is no entry, and start again")]
    Spool(PathBuf),
    /// A metric that cannot be: a defect of ours.
    #[error("the ledger's metrics cannot be made: {0}")]
    Metrics(prometheus::Error),
    /// The file was written by a newer idgate, or is another program's.
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

/// What a database says, in our words, and what to do. Never what was bound to a statement.
pub(super) fn remedy(error: &sqlx::Error) -> String {
    let told = match error.as_database_error() {
        Some(database) => database.message().to_owned(),
        None => error.to_string(),
    };
    // The last byte of SQLite's extended code is the code itself.
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
