//! Looks entries up in the spool, for as long as the database cannot take them.
//!
//! Look here first and in the database afterwards: an entry that is missed here because it moved meanwhile is in the
//! database then, since it is committed there before the spool is cut.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem::Finder;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::entry::Entry;
use super::error::ReadError;
use super::{record, spool};

/// How much of a file is read for a lookup, in bytes: about 60,000 entries. With more than that, the lookup fails.
const MOST: u64 = 1 << 26;

/// How many lookups may read the spool at the same time: the writer's appends need threads and the disk, too.
pub(super) const MOST_SEARCHES: usize = 8;

/// How long a lookup may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The entries in these files whose text contains `id`, in the order of the files.
///
/// # Errors
/// If the files are too long or the disk too slow, or all of `searches` are under way.
pub(super) async fn entries_with(
    paths: [PathBuf; 2],
    id: Uuid,
    searches: &Arc<Semaphore>,
) -> Result<Vec<Entry>, ReadError> {
    let permit = Arc::clone(searches).try_acquire_owned().map_err(|_| ReadError::Behind)?;
    let search = move || {
        // Held by the thread, which may outlive the caller.
        let _permit = permit;
        let mut found = Vec::new();
        for path in paths {
            search_file(path, id, &mut found)?;
        }
        io::Result::Ok(found)
    };
    // The disk may hang; the thread is lost then, the caller is not.
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(search)).await {
        Ok(Ok(Ok(found))) => Ok(found),
        _ => Err(ReadError::Behind),
    }
}

fn search_file(path: PathBuf, id: Uuid, found: &mut Vec<Entry>) -> io::Result<()> {
    let id = id.to_string();
    let finder = Finder::new(&id);
    spool::each_frame(&File::open(path)?, MOST, |records| {
        if finder.find(records).is_some() {
            let rows = record::rows(records).unwrap_or_default().into_iter();
            let rows = rows.filter(|row| finder.find(row.text.as_bytes()).is_some());
            found.extend(rows.filter_map(|row| serde_json::from_str::<Entry>(row.text).ok()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn searches_beyond_the_limit_are_refused_and_not_queued() {
        let paths = ["one", "two"].map(PathBuf::from);
        let found = entries_with(paths, Uuid::nil(), &Arc::new(Semaphore::new(0))).await;
        assert!(matches!(found, Err(ReadError::Behind)));
    }
}
