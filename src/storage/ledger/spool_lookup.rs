//! Looks entries up in the spool, for as long as the database cannot take them.
//!
//! Look here first and in the database afterwards: an entry that is missed here because it moved meanwhile is in the
//! database then, since it is committed there before the spool is cut.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use memchr::memmem::Finder;
use uuid::Uuid;

use super::entry::Entry;
use super::error::ReadError;

/// How much of a file is read for a lookup, in bytes: about 60,000 entries. With more than that, the lookup fails.
const MOST: u64 = 1 << 26;

/// How long a lookup may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The entries in these files whose text contains `id`, in the order of the files.
pub(super) async fn entries_with(paths: [PathBuf; 2], id: Uuid) -> Result<Vec<Entry>, ReadError> {
    let search = move || {
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
    let file = File::open(path)?;
    if file.metadata()?.len() > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let id = id.to_string();
    let finder = Finder::new(&id);
    let mut reader = BufReader::new(file.take(MOST));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if finder.find(&line).is_some() {
            // Nobody was told of an incomplete line.
            found.extend(serde_json::from_slice::<Entry>(&line));
        }
        line.clear();
    }
    Ok(())
}
