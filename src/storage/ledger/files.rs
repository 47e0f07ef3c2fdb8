//! Where the ledger's files are, and the locks that keep other processes out.
//!
//! A path does not identify a file: links give it other paths, and it can be moved. So the lock is on the database file
//! itself, and [`Identity`] tells whether a path still leads to the file that is open.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::OpenError;
use super::{private_file, spool};

/// A running idgate empties its spool within this time.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Which file it is, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The locks of one ledger. The operating system releases them when this process ends, however it ends.
#[derive(Debug)]
pub(super) struct Locks {
    /// The file beside the database that earlier versions lock.
    _beside: File,
    /// The database file itself. SQLite locks it too, but by other means (`fcntl`), which closing any descriptor of the
    /// file would undo: this one stays open for as long as the ledger.
    _database: Option<File>,
    /// Which file the database is; `None` if the record is elsewhere.
    pub(super) database: Option<Identity>,
}

impl Identity {
    pub(super) fn of(data: &Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino() }
    }

    /// Whether `path` leads to this file.
    pub(super) fn is_at(self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|data| Self::of(&data) == self)
    }

    /// Whether this file, which is at `path`, has no other name.
    pub(super) fn has_one_name(self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|data| Self::of(&data) == self && data.nlink() == 1)
    }
}

/// Waits until a running idgate has moved the spool's entries into the database `file`. The spool is beside it, or in
/// `folder` if given. Returns the spool files that still hold entries; those entries stay there until the next start.
pub async fn left_behind(file: &Path, folder: Option<&Path>) -> Vec<PathBuf> {
    spool::left_behind(spools(file, folder).into(), FLUSH_TIME).await
}

/// The texts of the entries that the spool of the database `file` holds, oldest first. The database may have them, too.
///
/// # Errors
/// If it cannot be read.
pub fn spooled(file: &Path, folder: Option<&Path>) -> io::Result<Vec<String>> {
    let [one, two] = spools(file, folder).map(|path| spool::texts(&path));
    let mut both = [one?, two?];
    both.sort_by_key(|(generation, _)| *generation);
    Ok(both.into_iter().flat_map(|(_, texts)| texts).collect())
}

pub(super) fn spools(file: &Path, folder: Option<&Path>) -> [PathBuf; 2] {
    ["spool", "spool-2"].map(|extension| beside(file, folder, extension))
}

pub(super) fn beside(file: &Path, folder: Option<&Path>, extension: &str) -> PathBuf {
    let folder = folder.or(file.parent()).unwrap_or(Path::new(""));
    folder.join(file.file_name().unwrap_or_default()).with_extension(extension)
}

/// Locks the database at `path`, which is created if it is missing, under whatever name another process has opened it.
pub(super) fn lock(path: &Path) -> Result<Locks, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if !folder.is_none_or(Path::is_dir) {
        return Err(OpenError::NoFolder(path.to_owned()));
    }
    let in_use = || OpenError::InUse(path.to_owned());
    let beside = path.with_extension("lock");
    let file = private_file::options().create(true).truncate(false).write(true).open(&beside);
    let file = file.map_err(|error| OpenError::beside(&beside, error))?;
    lock_file(&file, &beside, in_use)?;
    let failed = |error| OpenError::beside(path, error);
    let database = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // SQLite would make it readable for others, and the files beside it take its mode.
            private_file::options().create(true).truncate(false).read(true).write(true).open(path)
        }
        opened => opened,
    };
    let database = database.map_err(failed)?;
    lock_file(&database, path, in_use)?;
    let data = database.metadata().map_err(failed)?;
    if data.nlink() > 1 {
        return Err(OpenError::Linked(path.to_owned()));
    }
    Ok(Locks { _beside: file, _database: Some(database), database: Some(Identity::of(&data)) })
}

/// Locks the spool of this replica in `folder`.
pub(super) fn lock_spool(folder: &Path, replica: &str) -> Result<Locks, OpenError> {
    let beside = folder.join(replica).with_extension("lock");
    let file = private_file::options().create(true).truncate(false).write(true).open(&beside);
    let file = file.map_err(|error| OpenError::beside(&beside, error))?;
    lock_file(&file, &beside, || OpenError::SpoolInUse(beside.clone()))?;
    Ok(Locks { _beside: file, _database: None, database: None })
}

/// Locks an open file against other processes, and against another ledger of this one.
fn lock_file(file: &File, path: &Path, in_use: impl FnOnce() -> OpenError) -> Result<(), OpenError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => in_use(),
        TryLockError::Error(error) => OpenError::beside(path, error),
    })
}
