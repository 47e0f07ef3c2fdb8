//! The spool: a file of lines beside the database, to which every entry is written first. The caller is answered once
//! its line is on the disk. The database is filled from the spool afterwards, so an answer waits for one append and
//! never for indexes or for a database that cannot be written.
//!
//! There are two files. One takes entries while the other is flushed into the database, then they swap. Entries keep
//! their order. Flushing an entry twice, because the process ended before the file was emptied, adds nothing: an id is
//! written once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::private_file;

/// The maximum size of each file, in bytes. It is reached after days of outage; paid calls are refused then.
const LARGEST: u64 = 1 << 29;

/// The prefix of a file's first line, which tells which of the two files is older. A file of an earlier version lacks
/// this line and counts as the oldest.
const HEAD: &str = "# ";

/// How often to check whether another process has emptied a file.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One of the two files, open.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    /// The file with the greater number holds the newer entries.
    number: u64,
    /// The length of its complete lines, in bytes.
    length: u64,
    /// How many of these bytes are in the database.
    moved: u64,
    /// Whether an incomplete line may follow them.
    is_torn: bool,
}

/// Some lines of a file, each the text of an entry.
pub(super) struct Part {
    pub(super) texts: Vec<String>,
    /// The offset at which they end, in bytes.
    end: u64,
}

/// Opens both files with the entries that an earlier process left, the older file first.
pub(super) fn open_both(paths: [PathBuf; 2]) -> Result<[Spool; 2], (PathBuf, io::Error)> {
    let [first, second] = paths.map(|path| Spool::open(path.clone()).map_err(|error| (path, error)));
    let mut both = [first?, second?];
    both.sort_by_key(|spool| spool.number);
    Ok(both)
}

impl Spool {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = private_file::options().create(true).read(true).append(true).open(&path)?;
        // Databases of different folders may share the spool's folder.
        file.try_lock()?;
        // A new file must survive a power cut.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let mut spool = Self { file, path, number: 0, length: 0, moved: 0, is_torn: false };
        // No caller was answered for a line that was cut off.
        (spool.number, spool.length) = spool.whole_lines()?;
        spool.file.set_len(spool.length)?;
        Ok(spool)
    }

    /// Whether all its entries are in the database.
    pub(super) fn is_empty(&self) -> bool {
        self.moved == self.length
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes this the newer file.
    pub(super) fn follow(&mut self, older: &Self) {
        self.number = older.number + 1;
    }

    /// Appends these entries; they are on the disk when it returns. After an error none of them is in the file, unless
    /// truncating it failed too and the process ended before a retry succeeded.
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
            // Incomplete lines are removed now, before the next append, or at the next start.
            Err(_) => self.is_torn = self.file.set_len(self.length).is_err(),
        }
        written
    }

    /// The next entries that are not in the database yet, at most `most`. Pass the result to [`Self::moved`] even if it
    /// has no entries, because a file may hold only its first line.
    pub(super) fn next(&self, most: usize) -> io::Result<Part> {
        let mut part = Part { texts: Vec::new(), end: self.moved };
        if self.is_empty() {
            return Ok(part);
        }
        // From the open file: its entries must reach the database even if its name is gone.
        let mut reader = BufReader::new(ReadFrom { file: &self.file, at: self.moved });
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

    /// Records that `part` is in the database, and empties the file after its last part.
    pub(super) fn moved(&mut self, part: &Part) {
        self.moved = part.end;
        if self.is_empty() {
            // No sync: if lines reappear after a power cut, the database skips them.
            self.is_torn = self.file.set_len(0).is_err();
            (self.length, self.moved) = (0, 0);
        }
    }

    /// Makes later writes fail, or succeed again.
    #[cfg(test)]
    pub(super) fn break_for_a_test(&mut self, is_broken: bool) {
        use std::os::fd::AsRawFd;
        // The same file, even if it has been moved.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let open = std::fs::OpenOptions::new().read(true).append(!is_broken).open(path);
        self.file = open.expect("it is open");
    }

    /// Checks that a few entries could be written.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        if self.length + 4096 > LARGEST {
            return Err(full());
        }
        let written = self.file.write_all(&[b' '; 4096]).and_then(|()| self.file.sync_data());
        let back = self.file.set_len(self.length);
        self.is_torn |= back.is_err();
        written.and(back)
    }

    /// The number in the first line, and the length of all complete lines in bytes.
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

/// Reads from a position on, without moving that of the file.
struct ReadFrom<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the spool is full")
}

/// Returns the files whose first line has not changed after `patience`: no process is emptying them.
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
