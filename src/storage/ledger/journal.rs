//! The journal of calls that have begun: a file of lines beside the database. If the process is killed during a paid
//! call, the next start finds the call here. Lines are handed to the operating system without waiting for the disk:
//! they survive the end of the process, but not a power cut.
//!
//! A line is written before its call is made. Lines of finished calls may remain until the file is compacted, because
//! the next start asks the ledger which of them it has. Past [`LARGEST`] bytes the file is compacted to the flights
//! that are still open.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::{Begun, BegunCall};
use super::files::Identity;
use super::private_file;

const LARGEST: u64 = 1 << 20;
/// From this length on the file is emptied as soon as no flight is open.
const LONG: u64 = 1 << 16;

/// The open file, and the flights that have not ended.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    length: u64,
    /// Whether the file ends in an incomplete line.
    is_torn: bool,
    /// The length in bytes at which it is compacted.
    most: u64,
    open: HashMap<Uuid, Vec<u8>>,
}

/// A flight of an earlier process, and the calls it had begun.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) begun: Begun,
    pub(super) calls: Vec<BegunCall>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Flight(Begun),
    Call(BegunCall),
}

/// A [`Line`] to be written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Written<'a> {
    Flight(&'a Begun),
    Call(&'a BegunCall),
}

impl Journal {
    /// Opens the file at `path` and returns what an earlier process began and did not finish.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<Left>)> {
        let file = private_file::options().create(true).read(true).append(true).open(&path)?;
        let text = fs::read(&path)?;
        let mut left: Vec<Left> = Vec::new();
        let mut places = HashMap::new();
        // An incomplete line was the last one, and its call was never made.
        for line in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            match line {
                Line::Flight(flight) => {
                    places.insert(flight.flight, left.len());
                    left.push(Left { begun: flight, calls: Vec::new() });
                }
                Line::Call(call) => {
                    let flight = places.get(&call.flight).and_then(|place| left.get_mut(*place));
                    if let Some(flight) = flight {
                        flight.calls.push(call);
                    }
                }
            }
        }
        let length = text.len() as u64;
        Ok((Self { file, path, length, is_torn: false, most: LARGEST, open: HashMap::new() }, left))
    }

    /// Records that a call begins; the first call of a flight records the flight too.
    pub(super) fn begin(&mut self, flight: &Begun, call: &BegunCall) -> io::Result<()> {
        let mut text = Vec::with_capacity(1024);
        if !self.open.contains_key(&flight.flight) {
            serde_json::to_writer(&mut text, &Written::Flight(flight))?;
            text.push(b'\n');
        }
        serde_json::to_writer(&mut text, &Written::Call(call))?;
        text.push(b'\n');
        if self.length > self.most {
            self.cut()?;
        }
        self.append(&text)?;
        self.open.entry(flight.flight).or_default().append(&mut text);
        Ok(())
    }

    /// Drops a flight whose entries are all in the ledger. Its lines stay until [`Self::tidy`] or until the file is
    /// compacted: to cut the file after each flight would cost more than to write it.
    pub(super) fn end(&mut self, flight: Uuid) {
        self.open.remove(&flight);
        if self.length > LONG {
            self.tidy();
        }
    }

    /// Empties the file if no flight is open. Returns whether it is empty.
    pub(super) fn tidy(&mut self) -> bool {
        if self.open.is_empty() && self.length > 0 && self.file.set_len(0).is_ok() {
            self.length = 0;
        }
        self.length == 0
    }

    /// Checks that the file can be written.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.append(b"\n")
    }

    /// Whether its path still leads to the file that is open.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.metadata().is_ok_and(|data| Identity::of(&data).is_at(&self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Discards what an earlier process left.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.file.set_len(0)
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
        }
        let written = self.file.write_all(text);
        self.is_torn = written.is_err() && self.file.set_len(self.length).is_err();
        written?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Compacts the journal: continues in a new file that holds only the open flights.
    fn cut(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("begun.new");
        let text: Vec<u8> = self.open.values().flatten().copied().collect();
        private_file::options().create(true).truncate(true).write(true).open(&beside)?.write_all(&text)?;
        let file = OpenOptions::new().append(true).open(&beside)?;
        fs::rename(&beside, &self.path)?;
        (self.file, self.length, self.is_torn) = (file, text.len() as u64, false);
        // With many flights open, compacting pays only after the file has grown to twice its size.
        self.most = LARGEST.max(2 * self.length);
        Ok(())
    }

    /// Makes every later write fail.
    #[cfg(test)]
    pub(super) fn break_for_a_test(&mut self) {
        self.file = File::open(&self.path).expect("it is there");
    }
}
