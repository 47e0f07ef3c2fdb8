//! What one append writes to a spool file: a head and the records of some entries.
//!
//! A file is overwritten in place, so that waiting for the disk does not wait for the file system, which would have to
//! record a new size. Behind the last frame follow older ones, or parts of them: the generation tells old from new, and
//! the checksum a whole frame from a part. A file that begins with zeros has no frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memmem;

/// The length of a head: what a frame begins with, generation, length and number of the records, the checksum of these
/// and that of the records.
pub(super) const HEAD: usize = 40;
/// What a frame begins with. Another layout needs another one.
pub(super) const MAGIC: [u8; 8] = *b"idgspl2\n";

/// How much is read at once to look for a frame.
const PIECE: usize = 1 << 20;

/// An odd number with half of its bits set.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A whole frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) generation: u64,
    /// How many records there are.
    pub(super) count: usize,
    pub(super) records: Vec<u8>,
    /// The offset at which it ends, in bytes.
    pub(super) end: u64,
}

/// A head, which is whole itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) generation: u64,
    length: u32,
    count: u32,
    /// Its own checksum.
    own: u64,
    /// That of the records.
    records: u64,
}

/// Puts a frame of these `count` records into `frame`, whose content it replaces. `None` if there are too many.
pub(super) fn build(generation: u64, records: &[u8], count: usize, frame: &mut Vec<u8>) -> Option<()> {
    let (length, count) = (u32::try_from(records.len()).ok()?, u32::try_from(count).ok()?);
    frame.clear();
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&generation.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&count.to_le_bytes());
    let head = checksum(0, frame);
    frame.extend_from_slice(&head.to_le_bytes());
    frame.extend_from_slice(&checksum(head, records).to_le_bytes());
    frame.extend_from_slice(records);
    Some(())
}

impl Head {
    /// `None` if no head begins at this offset.
    pub(super) fn read(file: &File, at: u64) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        match file.read_exact_at(&mut head, at) {
            Ok(()) => Ok(Self::parse(&head)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(head: &[u8; HEAD]) -> Option<Self> {
        let (fields, checksums) = head.split_at_checked(HEAD - 16)?;
        let (own, records) = checksums.split_first_chunk()?;
        let own = u64::from_le_bytes(*own);
        let (generation, rest) = fields.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let (length, count) = rest.split_first_chunk()?;
        let head = Self {
            generation: u64::from_le_bytes(*generation),
            length: u32::from_le_bytes(*length),
            count: u32::from_le_bytes(*count.first_chunk()?),
            own,
            records: u64::from_le_bytes(*records.first_chunk()?),
        };
        (checksum(0, fields) == own).then_some(head)
    }
}

impl Frame {
    /// `None` if no whole frame of at most `most` bytes begins at this offset.
    pub(super) fn read(file: &File, at: u64, most: u64) -> io::Result<Option<Self>> {
        let Some(Head { generation, length, count, own, records: expected }) = Head::read(file, at)? else {
            return Ok(None);
        };
        if u64::from(length) > most {
            return Ok(None);
        }
        let begin = at + HEAD as u64;
        let mut records = vec![0; usize::try_from(length).unwrap_or_default()];
        match file.read_exact_at(&mut records, begin) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let is_whole = checksum(own, &records) == expected;
        let (count, end) = (usize::try_from(count).unwrap_or_default(), begin + u64::from(length));
        Ok(is_whole.then_some(Self { generation, count, records, end }))
    }

    /// Whether a whole frame of this generation begins at this offset or later.
    pub(super) fn is_any(file: &File, generation: u64, mut from: u64, most: u64) -> io::Result<bool> {
        let mut begin = MAGIC.to_vec();
        begin.extend_from_slice(&generation.to_le_bytes());
        let finder = memmem::Finder::new(&begin);
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read_at(&mut piece, from)?;
            for place in finder.find_iter(piece.get(..read).unwrap_or_default()) {
                if Self::read(file, from + place as u64, most)?.is_some_and(|frame| frame.generation == generation) {
                    return Ok(true);
                }
            }
            if read < begin.len() {
                return Ok(false);
            }
            from += (read - begin.len() + 1) as u64;
        }
    }
}

/// Finds what a power cut leaves half written; it is no protection against somebody who wants to deceive.
fn checksum(start: u64, bytes: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = bytes.as_chunks();
    let sum = words.iter().fold(mix(start, bytes.len() as u64), |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}
