//! What is in a spool file, whatever moment the power is cut at.

use super::super::frame::HEAD;
use super::super::spool::{Room, Spool, open_both};
use super::*;

/// The record of an answer with this outcome.
fn record_of(outcome: &str) -> Vec<u8> {
    let mut records = Vec::new();
    record::write(&Entry::Answer(answer(outcome)), &mut records).unwrap();
    records
}

impl Folder {
    fn spools(&self) -> std::io::Result<[Spool; 2]> {
        open_both(super::super::files::spools(&self.file(), None), &Room::new(u64::MAX)).map_err(|(_, error)| error)
    }

    /// The file that takes entries.
    fn taking(&self) -> Spool {
        let [resting, mut taking] = self.spools().unwrap();
        taking.follow(&resting);
        taking
    }
}

/// The outcomes of the entries that are still to be moved.
fn outcomes(spool: &Spool) -> Vec<String> {
    let part = spool.next(usize::MAX).unwrap();
    record::rows(&part.records).unwrap().iter().map(|row| row.outcome.to_owned()).collect()
}

fn left_in(folder: &Folder) -> Vec<String> {
    folder.spools().unwrap().iter().flat_map(outcomes).collect()
}

#[test]
fn what_is_left_of_the_last_append_after_a_power_cut_is_no_entry() {
    let folder = Folder::new("torn");
    let mut spool = folder.taking();
    let path = spool.path().to_owned();
    // Older entries, which the new ones overwrite in part.
    let long = record_of(&"long".repeat(100));
    spool.append(&[&long[..], &long].concat(), 2).unwrap();
    spool.append(&long, 1).unwrap();
    let before = std::fs::read(&path).unwrap();
    let part = spool.next(usize::MAX).unwrap();
    spool.moved(&part);
    let [first, second] = ["match", "mismatch"].map(record_of);
    spool.append(&first, 1).unwrap();
    let once = std::fs::read(&path).unwrap();
    spool.append(&second, 1).unwrap();
    let twice = std::fs::read(&path).unwrap();
    drop(spool);
    assert_eq!(
        (before.len(), once.len(), twice.len()),
        (before.len(), before.len(), before.len()),
        "overwritten in place"
    );
    assert_eq!(left_in(&folder), ["match", "mismatch"]);
    let changed: Vec<_> = (0..twice.len()).filter(|at| once[*at] != twice[*at]).collect();
    let (from, to) = (changed[0], *changed.last().unwrap());
    for cut in from..=to {
        // The disk has written what is before this byte, or what is behind it.
        let (front, back) = ([&twice[..cut], &once[cut..]].concat(), [&once[..cut], &twice[cut..]].concat());
        for (torn, is_whole) in [(front, false), (back, cut == from)] {
            std::fs::write(&path, torn).unwrap();
            let expected: &[&str] = if is_whole { &["match", "mismatch"] } else { &["match"] };
            assert_eq!(left_in(&folder), expected, "at {cut}");
        }
    }
    // The very first append of a file, over the mark that it is empty. A disk writes the first sector as a whole.
    let marked = [&[0; HEAD][..], &before[HEAD..]].concat();
    for cut in (0..HEAD + first.len()).filter(|cut| *cut == 0 || *cut >= HEAD) {
        std::fs::write(&path, [&once[..cut], &marked[cut..]].concat()).unwrap();
        let told = left_in(&folder);
        assert!(told.is_empty(), "at {cut}: {told:?}");
    }
}

#[test]
fn a_damaged_frame_before_one_that_was_told_is_named() {
    let folder = Folder::new("damaged-frame");
    let mut spool = folder.taking();
    let path = spool.path().to_owned();
    for outcome in ["match", "mismatch", "no_record"] {
        spool.append(&record_of(outcome), 1).unwrap();
    }
    drop(spool);
    let sound = std::fs::read(&path).unwrap();
    let last = sound.windows(8).rposition(|bytes| bytes == b"idgspl2\n").unwrap();
    for at in (0..HEAD).chain([HEAD, last - 1]) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        let opened = folder.spools();
        // What does not begin like a frame is read as the text of an earlier idgate, and is none.
        let is_refused = opened.map_or(true, |both| both.iter().any(|spool| spool.next(9).is_err()));
        assert!(is_refused, "at {at}");
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(left_in(&folder).len(), 3);
}

#[test]
fn a_file_that_was_emptied_begins_anew_and_its_old_entries_do_not_come_back() {
    let folder = Folder::new("anew");
    let mut spool = folder.taking();
    // As when entries went past the spool: the same file takes entries again, without a swap.
    for outcome in ["match", "mismatch", "no_record"] {
        for _ in 0..3 {
            spool.append(&record_of(outcome), 1).unwrap();
        }
        assert_eq!(outcomes(&spool), [outcome; 3]);
        let part = spool.next(1).unwrap();
        spool.moved(&part);
        assert_eq!(outcomes(&spool), [outcome; 2]);
        let part = spool.next(usize::MAX).unwrap();
        spool.moved(&part);
        assert!(spool.is_empty() && outcomes(&spool).is_empty());
        assert_eq!(std::fs::read(spool.path()).unwrap()[..HEAD], [0; HEAD]);
        assert_eq!(folder.spooled(), "");
    }
    spool.append(&record_of("match"), 1).unwrap();
    drop(spool);
    assert_eq!(left_in(&folder), ["match"]);
    let mut both = folder.spools().unwrap();
    for spool in &mut both {
        let part = spool.next(usize::MAX).unwrap();
        spool.moved(&part);
        spool.close();
        assert_eq!(std::fs::metadata(spool.path()).unwrap().len(), 0);
    }
}
