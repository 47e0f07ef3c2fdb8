//! The journal of calls that have begun: a file of lines beside the database. If the process is killed during a paid
//! call, the next start finds the call here. Lines are handed to the operating system without waiting for the disk:
//! they survive the end of the process, but not a power cut.
//!
//! A line is written before its call is made. Lines of finished calls may remain until the file is compacted, because
//! the next start asks the ledger which of them it has. Past [`LARGEST`] bytes the file is compacted to the flights
//! that are still open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use super::borrowed::write_subject;
use super::entry::{Begun, BegunCall};
use super::files::Identity;
use super::private_file;
use crate::json_writer::Object;

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
    #[cfg(test)]
    pub(super) writes: usize,
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

/// The lines that announce a call.
pub(super) struct Announced {
    flight: Uuid,
    lines: Vec<u8>,
}

impl Announced {
    /// `begun` is the flight, unless an earlier call has announced it.
    pub(super) fn new(begun: Option<&Begun>, call: &BegunCall) -> Self {
        let mut lines = Vec::with_capacity(1024);
        if let Some(begun) = begun {
            write_flight(begun, &mut lines);
        }
        write_call(call, &mut lines);
        Self { flight: call.flight, lines }
    }
}

/// Writes a [`Line::Flight`].
fn write_flight(begun: &Begun, lines: &mut Vec<u8>) {
    let Begun { flight, at_ms, id, client, key_id, purpose, reference, subject, configuration } = begun;
    let mut line = Object::open(lines);
    let mut object = line.object("flight");
    object.uuid("flight", *flight);
    object.value("at_ms", at_ms);
    object.uuid("id", *id);
    object.text("client", client);
    object.text("key_id", key_id);
    object.text("purpose", purpose);
    object.optional("reference", reference.as_deref());
    write_subject(&mut object, subject);
    object.text("configuration", configuration);
    object.close();
    line.close();
    lines.push(b'\n');
}

/// Writes a [`Line::Call`].
fn write_call(call: &BegunCall, lines: &mut Vec<u8>) {
    let BegunCall { id, flight, at_ms, provider, endpoint, price_micro_yuan } = call;
    let mut line = Object::open(lines);
    let mut object = line.object("call");
    object.uuid("id", *id);
    object.uuid("flight", *flight);
    object.value("at_ms", at_ms);
    object.text("provider", provider);
    object.text("endpoint", endpoint);
    object.value("price_micro_yuan", price_micro_yuan);
    object.close();
    line.close();
    lines.push(b'\n');
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
                Line::Flight(begun) => {
                    // It is there twice if its first call gave up before the line was written.
                    if let Entry::Vacant(place) = places.entry(begun.flight) {
                        place.insert(left.len());
                        left.push(Left { begun, calls: Vec::new() });
                    }
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
        let journal = Self {
            file,
            path,
            length,
            is_torn: false,
            most: LARGEST,
            open: HashMap::new(),
            #[cfg(test)]
            writes: 0,
        };
        Ok((journal, left))
    }

    /// Records that these calls begin, with one write.
    pub(super) fn begin(&mut self, calls: Vec<Announced>) -> io::Result<()> {
        if self.length > self.most {
            self.cut()?;
        }
        match &*calls {
            [only] => self.append(&only.lines)?,
            all => self.append(&all.iter().map(|call| &*call.lines).collect::<Vec<_>>().concat())?,
        }
        for Announced { flight, mut lines } in calls {
            match self.open.entry(flight) {
                Entry::Vacant(place) => _ = place.insert(lines),
                Entry::Occupied(mut earlier) => earlier.get_mut().append(&mut lines),
            }
        }
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
        #[cfg(test)]
        (self.writes += 1);
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
