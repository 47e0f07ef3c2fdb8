//! Where entries wait when the database cannot be written: a file of lines beside it, in order, each on the disk before
//! anybody is told so. It is emptied into the database as soon as that can be written again.
//!
//! Invariants: while it holds anything, nothing goes past it, so that the order of what happened is kept; emptying it
//! twice, because the process ended between the database's commit and the cut, adds nothing: an id is written once.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use super::entry::Entry;

/// More than this is days of an outage; then paid calls are refused instead.
const LARGEST: u64 = 1 << 30;

/// The file, open.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    /// Whole lines of it.
    length: u64,
    /// Whether half a line may stand behind them.
    is_torn: bool,
}

impl Spool {
    /// The spool at `path`, with what an earlier process has left in it.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let mut spool = Self { file, path, length: 0, is_torn: false };
        // A line that was being written when the process was killed was never vouched for.
        spool.length = spool.whole_lines()?;
        spool.file.set_len(spool.length)?;
        Ok(spool)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `entries`; they are on the disk when it returns. If it fails, none of them is there.
    pub(super) fn append<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        if self.length + lines.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the spool is full"));
        }
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += lines.len() as u64,
            // What is half there is taken back: now, before the next line, or by the next start.
            Err(_) => self.is_torn = self.file.set_len(self.length).is_err(),
        }
        written
    }

    /// What it holds, in order.
    pub(super) fn read(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let lines = BufReader::new(File::open(&self.path)?).lines();
        Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.length = 0;
        self.file.sync_data()
    }

    fn whole_lines(&mut self) -> io::Result<u64> {
        self.file.rewind()?;
        let mut reader = BufReader::new(&self.file);
        let (mut whole, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                return Ok(whole);
            }
            whole += read as u64;
        }
    }
}
