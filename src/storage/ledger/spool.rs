//! Where every entry is first: a file of lines beside the database, in order, each on the disk before anybody is told so. The
//! database is filled behind it, so that who waits for an answer waits for the end of one file to be written and not for
//! indexes, nor for a database that cannot be written.
//!
//! There are two such files: one takes entries while what the other holds is moved into the database; then they change
//! places. Invariants: an entry never overtakes another; moving what has been moved already, because the process ended
//! before the file was emptied, adds nothing: an id is written once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// More than this in both is days of an outage; then paid calls are refused instead.
const LARGEST: u64 = 1 << 29;

/// What stands at the head of a file that holds anything: which of the two is the older one. A file without it is older
/// than both: earlier versions had one.
const HEAD: &str = "# ";

/// So often somebody who waits for another process to empty one looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One of the two files, open.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    /// The age of what it holds: the greater, the younger.
    number: u64,
    /// Whole lines of it.
    length: u64,
    /// So much of it is in the database.
    moved: u64,
    /// Whether something else may stand behind them.
    is_torn: bool,
}

/// Some lines of a file, each the text of an entry.
pub(super) struct Part {
    pub(super) texts: Vec<String>,
    /// Where they end.
    end: u64,
}

/// Opens both, with what an earlier process has left in them: the older one first.
pub(super) fn open_both(paths: [PathBuf; 2]) -> Result<[Spool; 2], (PathBuf, io::Error)> {
    let [first, second] = paths.map(|path| Spool::open(path.clone()).map_err(|error| (path, error)));
    let mut both = [first?, second?];
    both.sort_by_key(|spool| spool.number);
    Ok(both)
}

impl Spool {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        // A file that is new must be there after a power cut, too.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let mut spool = Self { file, path, number: 0, length: 0, moved: 0, is_torn: false };
        // A line that was being written when the process was killed was never vouched for.
        (spool.number, spool.length) = spool.whole_lines()?;
        spool.file.set_len(spool.length)?;
        Ok(spool)
    }

    /// Whether all that it held is in the database.
    pub(super) fn is_empty(&self) -> bool {
        self.moved == self.length
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It is the younger one from now on.
    pub(super) fn follow(&mut self, older: &Self) {
        self.number = older.number + 1;
    }

    /// Adds the entries with these texts; they are on the disk when it returns. If it fails, none of them is there, unless
    /// the disk takes nothing back and the process ends before it does.
    pub(super) fn append<'a>(&mut self, texts: impl Iterator<Item = &'a str> + Clone) -> io::Result<()> {
        if texts.clone().next().is_none() {
            return Ok(());
        }
        let length: usize = texts.clone().map(|text| text.len() + 1).sum();
        let mut lines = Vec::with_capacity(length + 32);
        if self.length == 0 {
            writeln!(lines, "{HEAD}{}", self.number)?;
        }
        for text in texts {
            lines.extend_from_slice(text.as_bytes());
            lines.push(b'\n');
        }
        if self.length + lines.len() as u64 > LARGEST {
            return Err(full());
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

    /// The next entries that are not in the database, at most `most`; none if there are no more. Either way [`Self::moved`]
    /// is to be told: a file may hold its head alone.
    pub(super) fn next(&self, most: usize) -> io::Result<Part> {
        let mut part = Part { texts: Vec::new(), end: self.moved };
        if self.is_empty() {
            return Ok(part);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.moved))?;
        let mut reader = BufReader::new(file);
        while part.texts.len() < most && part.end < self.length {
            let mut line = String::new();
            part.end += reader.read_line(&mut line)? as u64;
            if line.pop() != Some('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !(part.texts.is_empty() && line.starts_with(HEAD)) {
                part.texts.push(line);
            }
        }
        Ok(part)
    }

    /// `part` is in the database, and with the last of them the file is emptied.
    pub(super) fn moved(&mut self, part: &Part) {
        self.moved = part.end;
        if self.is_empty() {
            // Without a wait for the disk: what comes back after a power cut is passed over.
            self.is_torn = self.file.set_len(0).is_err();
            (self.length, self.moved) = (0, 0);
        }
    }

    /// From now on it can be written, or cannot.
    #[cfg(test)]
    pub(super) fn break_for_a_test(&mut self, is_broken: bool) {
        let open = OpenOptions::new().read(true).append(!is_broken).open(&self.path);
        self.file = open.expect("it is there");
    }

    /// Whether it can be written: as much as a few entries.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        if self.length + 4096 > LARGEST {
            return Err(full());
        }
        let written = self.file.write_all(&[b' '; 4096]).and_then(|()| self.file.sync_data());
        let back = self.file.set_len(self.length);
        self.is_torn |= back.is_err();
        written.and(back)
    }

    /// The number at its head, and how long its whole lines are.
    fn whole_lines(&mut self) -> io::Result<(u64, u64)> {
        self.file.rewind()?;
        let mut reader = BufReader::new(&self.file);
        let (mut number, mut whole, mut line) = (0, 0, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                return Ok((number, whole));
            }
            if let Some(head) = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix(HEAD)) {
                number = head.trim_end().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            }
            whole += read as u64;
        }
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the spool is full")
}

/// Those of these files that still hold what they held when this was called, `patience` later: nobody moves it.
pub(super) async fn left_behind(mut paths: Vec<PathBuf>, patience: Duration) -> Vec<PathBuf> {
    let head = |path: &Path| BufReader::new(File::open(path).ok()?).lines().next()?.ok();
    let held: HashMap<_, _> = paths.iter().map(|path| (path.clone(), head(path))).collect();
    let until = Instant::now() + patience;
    loop {
        paths.retain(|path| head(path).is_some_and(|now| held.get(path) == Some(&Some(now))));
        if paths.is_empty() || Instant::now() >= until {
            return paths;
        }
        sleep(LOOK_AGAIN).await;
    }
}
