//! Where the ledger's files are, and the lock that keeps other processes out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::OpenError;
use super::{private_file, spool};

/// A running idgate empties its spool within this time.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Waits until a running idgate has moved the spool's entries into the database `file`. The spool is beside it, or in
/// `folder` if given. Returns the spool files that still hold entries; those entries stay there until the next start.
pub async fn left_behind(file: &Path, folder: Option<&Path>) -> Vec<PathBuf> {
    spool::left_behind(spools(file, folder).into(), FLUSH_TIME).await
}

pub(super) fn spools(file: &Path, folder: Option<&Path>) -> [PathBuf; 2] {
    ["spool", "spool-2"].map(|extension| beside(file, folder, extension))
}

pub(super) fn beside(file: &Path, folder: Option<&Path>, extension: &str) -> PathBuf {
    let folder = folder.or(file.parent()).unwrap_or(Path::new(""));
    folder.join(file.file_name().unwrap_or_default()).with_extension(extension)
}

/// Takes the lock. The operating system releases it when this process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<std::fs::File, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if !folder.is_none_or(Path::is_dir) {
        return Err(OpenError::NoFolder(path.to_owned()));
    }
    let beside = path.with_extension("lock");
    let file = private_file::options().create(true).truncate(false).write(true).open(&beside);
    let file = file.map_err(|error| OpenError::beside(&beside, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::beside(&beside, error)),
    }
}
