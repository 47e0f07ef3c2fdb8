//! Where the database's write-ahead log is, and which file it is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::files::Identity;

/// The database's write-ahead log. SQLite deletes it with the last connection and makes another one.
#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    /// `None` while no connection keeps it.
    open: Mutex<Option<Identity>>,
}

impl Wal {
    pub(super) fn beside(database: &Path) -> Self {
        // SQLite puts it beside the file that a symbolic link leads to.
        let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        let mut path = database.into_os_string();
        path.push("-wal");
        Self { path: path.into(), open: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Call this while a connection is open, which keeps the file.
    pub(super) async fn opened(&self) {
        let data = tokio::fs::metadata(&self.path).await.ok();
        self.set(data.map(|data| Identity::of(&data)));
    }

    /// Call this before that connection is closed.
    pub(super) fn closes(&self) {
        self.set(None);
    }

    fn set(&self, identity: Option<Identity>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    fn open(&self) -> Option<Identity> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_in_place(&self) -> bool {
        let Some(identity) = self.open() else { return true };
        // It may have been closed during the look.
        identity.is_at(&self.path) || self.open() != Some(identity)
    }
}
