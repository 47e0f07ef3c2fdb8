//! The spool: files beside the database, to which every entry is written first. The caller is answered once its entry is
//! on the disk. The database is filled from the spool afterwards, so an answer waits for one append and never for
//! indexes or for a database that cannot be written.
//!
//! There are two files. One takes entries while the other is flushed into the database, then they swap. Entries keep
//! their order. Flushing an entry twice, because the process ended before the file was emptied, adds nothing: an id is
//! written once.
//!
//! A file is a sequence of [frames](super::frame), overwritten in place. One of an earlier idgate is lines of text; it is
//! read at the start.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::frame::{self, Frame, HEAD, Head, MAGIC};
use super::{private_file, record};

/// The most bytes of one frame.
const LARGEST: u64 = 1 << 29;

/// The prefix of a text file's first line, which tells which of the two files is older. One without this line counts as
/// the oldest.
const TEXT_HEAD: &str = "# ";

/// How often to check whether another process has emptied a file.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often a file is cut to twice the length that was used since, so that entries do not stay in it for ever.
const CUT_EVERY: Duration = Duration::from_secs(600);

/// How much both files may hold, and hold.
#[derive(Debug)]
pub(super) struct Room {
    most: u64,
    lengths: [AtomicU64; 2],
}

impl Room {
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, lengths: Default::default() })
    }

    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// How many bytes both hold.
    pub(super) fn used(&self) -> u64 {
        self.lengths.iter().map(|length| length.load(Ordering::Relaxed)).sum()
    }
}

/// One of the two files, open.
#[derive(Debug)]
pub(super) struct Spool {
    room: Arc<Room>,
    /// Which of the two it is.
    place: usize,
    file: File,
    path: PathBuf,
    /// The generation of its frames. The file with the greater number holds the newer entries.
    number: u64,
    /// Whether frames with this number have been written.
    is_used: bool,
    is_text: bool,
    /// The length of its whole frames or lines, in bytes.
    length: u64,
    /// How many of these bytes are in the database.
    moved: u64,
    /// Whether it still begins with a frame though all are in the database.
    is_unmarked: bool,
    /// The greatest length since it was cut, and when it is cut next.
    longest: u64,
    cut_at: Instant,
    /// The last frame that was written.
    frame: Vec<u8>,
}

/// Some entries of a file.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) records: Vec<u8>,
    pub(super) count: usize,
    /// The offset at which they end, in bytes.
    end: u64,
}

/// Opens both files with the entries that an earlier process left, the older file first.
pub(super) fn open_both(paths: [PathBuf; 2], room: &Arc<Room>) -> Result<[Spool; 2], (PathBuf, io::Error)> {
    let [first, second] = paths;
    let open = |path: PathBuf, place| Spool::open(path.clone(), Arc::clone(room), place).map_err(|error| (path, error));
    let mut both = [open(first, 0)?, open(second, 1)?];
    both.sort_by_key(|spool| spool.number);
    Ok(both)
}

impl Spool {
    fn open(path: PathBuf, room: Arc<Room>, place: usize) -> io::Result<Self> {
        let file = private_file::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        // Databases of different folders may share the spool's folder.
        file.try_lock()?;
        // A new file must survive a power cut.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let mut spool = Self {
            room,
            place,
            file,
            path,
            number: 0,
            is_used: true,
            is_text: false,
            length: 0,
            moved: 0,
            is_unmarked: false,
            longest: 0,
            cut_at: Instant::now() + CUT_EVERY,
            frame: Vec::new(),
        };
        // No caller was answered for what was cut off.
        if is_empty(&spool.file)? {
            spool.file.set_len(0)?;
        } else if let Some(head) = Head::read(&spool.file, 0)? {
            (spool.number, spool.is_unmarked) = (head.generation, true);
            spool.length = spool.whole_frames()?;
        } else if first_bytes(&spool.file)?.starts_with(&MAGIC) {
            // A disk writes the first head whole or not at all.
            return Err(io::ErrorKind::InvalidData.into());
        } else {
            spool.is_text = true;
            (spool.number, spool.length) = spool.whole_lines()?;
        }
        spool.fills();
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
        self.number = self.number.max(older.number) + 1;
        self.is_used = false;
    }

    /// Appends these `count` records; they are on the disk when it returns. After an error none of them is in the file,
    /// unless undoing it failed too and the process ended before a retry succeeded.
    pub(super) fn append(&mut self, records: &[u8], count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        if self.length == 0 {
            self.mark_as_empty()?;
            if self.is_used {
                // Older frames with its number may follow. The other file has the number before this one at most.
                self.number += 2;
            }
        }
        frame::build(self.number, records, count, &mut self.frame).ok_or_else(full)?;
        if !self.has_room(self.frame.len() as u64) {
            return Err(full());
        }
        self.is_used = true;
        let written = self.file.write_all_at(&self.frame, self.length).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += self.frame.len() as u64;
                self.longest = self.longest.max(self.length);
                self.fills();
            }
            // A whole frame must not be found where the next one will be.
            Err(_) => _ = self.file.write_all_at(&[0; HEAD], self.length),
        }
        if self.frame.capacity() > 1 << 20 {
            self.frame = Vec::new();
        }
        written
    }

    /// The next entries that are not in the database yet: `most` or somewhat more. Pass the result to [`Self::moved`]
    /// even if it has no entries, because a file may hold only its first line.
    pub(super) fn next(&self, most: usize) -> io::Result<Part> {
        let mut part = Part { end: self.moved, ..Part::default() };
        if self.is_text {
            self.next_lines(most, &mut part)?;
            return Ok(part);
        }
        // From the open file: its entries must reach the database even if its name is gone.
        while part.count < most && part.end < self.length {
            let frame = Frame::read(&self.file, part.end, LARGEST)?.filter(|frame| frame.generation == self.number);
            let frame = frame.ok_or(io::ErrorKind::InvalidData)?;
            (part.end, part.count) = (frame.end, part.count + frame.count);
            if part.records.is_empty() {
                part.records = frame.records;
            } else {
                part.records.extend_from_slice(&frame.records);
            }
        }
        Ok(part)
    }

    fn next_lines(&self, most: usize, part: &mut Part) -> io::Result<()> {
        let mut reader = BufReader::new(ReadFrom { file: &self.file, at: self.moved });
        let mut line = String::new();
        while part.count < most && part.end < self.length {
            line.clear();
            part.end += reader.read_line(&mut line)? as u64;
            let text = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
            if !(part.count == 0 && text.starts_with(TEXT_HEAD)) {
                record::write_text(text, &mut part.records).map_err(|_| io::ErrorKind::InvalidData)?;
                part.count += 1;
            }
        }
        Ok(())
    }

    /// Passes the records of each frame to `each`, and whether they are not known to be in the database.
    pub(super) fn each(&self, mut each: impl FnMut(&[u8], bool)) -> io::Result<()> {
        let mut at = 0;
        while at < self.length {
            let frame = Frame::read(&self.file, at, LARGEST)?.filter(|frame| frame.generation == self.number);
            let frame = frame.ok_or(io::ErrorKind::InvalidData)?;
            each(&frame.records, at >= self.moved);
            at = frame.end;
        }
        Ok(())
    }

    /// How many bytes are not in the database yet.
    pub(super) const fn left(&self) -> u64 {
        self.length.saturating_sub(self.moved)
    }

    /// Records that `part` is in the database, and empties the file after its last part.
    pub(super) fn moved(&mut self, part: &Part) {
        self.moved = part.end;
        if self.is_empty() {
            (self.length, self.moved, self.is_unmarked) = (0, 0, true);
            self.fills();
            // If this fails, the next append does it. Until then, if the entries appear again, the database skips them.
            let _ = self.mark_as_empty();
            if Instant::now() >= self.cut_at {
                // Only to save room.
                let _ = self
                    .file
                    .metadata()
                    .map(|data| data.len().min(self.longest * 2))
                    .and_then(|to| self.file.set_len(to));
                (self.longest, self.cut_at) = (0, Instant::now() + CUT_EVERY);
            }
        }
    }

    fn has_room(&self, more: u64) -> bool {
        self.room.used().saturating_add(more) <= self.room.most
    }

    /// Records its length for the other one.
    fn fills(&self) {
        if let Some(length) = self.room.lengths.get(self.place) {
            length.store(self.length, Ordering::Relaxed);
        }
    }

    /// Truncates the file if it is empty: entries that are in the database need not be here, too.
    pub(super) fn close(&mut self) {
        if self.is_empty() {
            let _ = self.file.set_len(0);
        }
    }

    /// Does away with the first frame. This is on the disk before another one is written over it: after a power cut
    /// nobody could tell whether frames of the same file belong together.
    fn mark_as_empty(&mut self) -> io::Result<()> {
        if self.is_text {
            self.file.set_len(0)?;
            self.file.sync_data()?;
        } else if self.is_unmarked {
            self.file.write_all_at(&[0; HEAD], 0)?;
            self.file.sync_data()?;
        }
        (self.is_text, self.is_unmarked) = (false, false);
        Ok(())
    }

    /// Makes later writes fail, or succeed again.
    #[cfg(test)]
    pub(super) fn break_for_a_test(&mut self, is_broken: bool) {
        use std::os::fd::AsRawFd;
        // The same file, even if it has been moved.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let open = std::fs::OpenOptions::new().read(true).write(!is_broken).open(path);
        self.file = open.expect("it is open");
    }

    /// Checks that a few entries could be written.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        if !self.has_room(4096) {
            return Err(full());
        }
        self.file.write_all_at(&[0; 4096], self.length).and_then(|()| self.file.sync_data())
    }

    /// The length of all whole frames, in bytes.
    fn whole_frames(&self) -> io::Result<u64> {
        let mut end = 0;
        while let Some(frame) = Frame::read(&self.file, end, LARGEST)?.filter(|frame| frame.generation == self.number) {
            end = frame.end;
        }
        // A frame that was cut off is the last one.
        if Frame::is_any(&self.file, self.number, end + 1, LARGEST)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(end)
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
            if let Some(head) = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix(TEXT_HEAD)) {
                number = head.trim_end().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            }
            whole += read as u64;
        }
    }
}

/// Passes the records of each frame to `each`. The file may change meanwhile: what was overwritten is in the database.
///
/// # Errors
/// If it cannot be read, or has more than `most` bytes of records.
pub(super) fn each_frame(file: &File, most: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut at, mut generation) = (0, None);
    while let Some(frame) = Frame::read(file, at, LARGEST)?
        && *generation.get_or_insert(frame.generation) == frame.generation
    {
        if frame.end > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        at = frame.end;
        each(&frame.records);
    }
    Ok(())
}

/// The generation of the file at `path`, and the texts of its entries.
pub(super) fn texts(path: &Path) -> io::Result<(u64, Vec<String>)> {
    let file = File::open(path)?;
    let generation = Head::read(&file, 0)?.map_or(0, |head| head.generation);
    let mut texts = Vec::new();
    each_frame(&file, u64::MAX, |records| {
        texts.extend(record::rows(records).unwrap_or_default().iter().map(|row| row.text.to_owned()));
    })?;
    Ok((generation, texts))
}

/// Whether there is nothing in the file, or only what is in the database.
fn is_empty(file: &File) -> io::Result<bool> {
    Ok(first_bytes(file)?.iter().all(|byte| *byte == 0))
}

fn first_bytes(mut file: &File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.rewind()?;
    file.take(HEAD as u64).read_to_end(&mut first)?;
    Ok(first)
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

/// Returns the files whose beginning has not changed after `patience`: no process is emptying them.
pub(super) async fn left_behind(mut paths: Vec<PathBuf>, patience: Duration) -> Vec<PathBuf> {
    let first =
        |path: &Path| first_bytes(&File::open(path).ok()?).ok().filter(|first| first.iter().any(|byte| *byte != 0));
    let held: HashMap<_, _> = paths.iter().map(|path| (path.clone(), first(path))).collect();
    let until = Instant::now() + patience;
    loop {
        paths.retain(|path| first(path).is_some_and(|now| held.get(path) == Some(&Some(now))));
        if paths.is_empty() || Instant::now() >= until {
            return paths;
        }
        sleep(LOOK_AGAIN).await;
    }
}
