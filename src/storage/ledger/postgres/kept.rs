//! Batches that PostgreSQL has acknowledged a short time ago. A failover to a standby that had not everything yet, or a
//! copy that is restored, lacks them; they are sent again then.
//!
//! The spool's own files cannot serve: they are overwritten in place. So each batch is written once more, into a file of
//! its minute, and is on the disk before the spool lets go of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::record::{self, Row};
use super::super::{frame, private_file, spool};

/// How long a batch is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// How long one file is written.
const FILE_FOR: Duration = Duration::from_secs(60);
/// The most bytes of a file that is read.
const MOST: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    /// What the names of the files begin with.
    name: String,
    /// The number of the last file.
    number: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    since: Instant,
}

impl Kept {
    pub(super) fn open(folder: &Path, replica: &str) -> io::Result<Self> {
        let mut kept = Self { folder: folder.to_owned(), name: prefix(replica), number: 0, open: None };
        kept.number = kept.files()?.last().map_or(0, |(number, _)| *number);
        Ok(kept)
    }

    /// Keeps these entries.
    pub(super) async fn keep(&mut self, rows: &[Row<'_>]) -> io::Result<()> {
        let mut records = Vec::new();
        rows.iter().for_each(|row| record::write_row(row, &mut records));
        let count = rows.len();
        if self.open.as_ref().is_none_or(|open| open.since.elapsed() >= FILE_FOR) {
            self.open = None;
            self.number += 1;
        }
        let (open, path) = (self.open.take(), self.path(self.number));
        let stale: Vec<_> = if open.is_none() { self.stale()? } else { Vec::new() };
        let work = move || {
            let mut frame = Vec::new();
            frame::build(1, &records, count, &mut frame).ok_or(io::ErrorKind::InvalidInput)?;
            let mut open = match open {
                Some(open) => open,
                None => {
                    let file = private_file::options().create(true).truncate(true).read(true).write(true).open(path)?;
                    Open { file, length: 0, since: Instant::now() }
                }
            };
            std::os::unix::fs::FileExt::write_all_at(&open.file, &frame, open.length)?;
            open.file.sync_data()?;
            open.length += frame.len() as u64;
            stale.iter().for_each(|path| _ = fs::remove_file(path));
            io::Result::Ok(open)
        };
        let open = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        self.open = Some(open);
        Ok(())
    }

    /// The records of all batches, in the order in which they were sent.
    pub(super) async fn batches(&self) -> io::Result<Vec<Vec<u8>>> {
        let files = self.files()?;
        let work = move || {
            let mut batches = Vec::new();
            for (_, path) in files {
                spool::each_frame(&File::open(path)?, MOST, |records| batches.push(records.to_vec()))?;
            }
            io::Result::Ok(batches)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}{number}", self.name))
    }

    /// The files with their numbers, the oldest first.
    fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        numbered(&self.folder, &self.name)
    }

    /// The files whose last batch was sent long ago.
    #[expect(clippy::disallowed_methods, reason = "the file system dates its files by this clock")]
    fn stale(&self) -> io::Result<Vec<PathBuf>> {
        let is_stale = |path: &PathBuf| {
            let written = fs::metadata(path).and_then(|data| data.modified());
            let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
            age.is_some_and(|age| age > KEPT_FOR)
        };
        Ok(self.files()?.into_iter().map(|(_, path)| path).filter(is_stale).collect())
    }
}

fn prefix(replica: &str) -> String {
    format!("{replica}.moved-")
}

/// The files of this replica's batches, the oldest first.
pub(in super::super) fn files(folder: &Path, replica: &str) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(folder, &prefix(replica))?.into_iter().map(|(_, path)| path).collect())
}

fn numbered(folder: &Path, prefix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix(prefix)?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}
