//! Finds the ends of the units that a connection's bytes consist of, and counts the bytes of the unfinished one.
//!
//! Nothing is parsed but lengths and the flag that ends a header block. The protocols' own parsers see the same bytes.

use std::sync::Arc;

use super::life::Life;

/// The connection preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE: usize = 24;
const HTTP2_HEADER: usize = 9;
const TLS_HEADER: usize = 5;

// RFC 9113, 6.2 and 6.10.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What the bytes of a stream are.
#[derive(Debug)]
pub(super) enum Framing {
    /// Requests of HTTP/1. A head ends when the request reaches the service; its body is limited by whoever reads it.
    Heads { life: Arc<Life>, heard: u64, bytes: usize },
    /// Frames of HTTP/2. A header block of several frames is one unit.
    Http2(Lengths),
    /// TLS records.
    Tls { records: Lengths, is_handshaking: bool },
}

/// Follows units with a header that contains the length of the rest.
#[derive(Debug)]
pub(super) struct Lengths {
    header: [u8; HTTP2_HEADER],
    /// The size of a header.
    size: usize,
    /// How much of the next header has been read, and how much of the rest has not.
    have: usize,
    left: usize,
    is_block_open: bool,
    unfinished: usize,
}

impl Framing {
    pub(super) fn heads(life: Arc<Life>) -> Self {
        Self::Heads { life, heard: 0, bytes: 0 }
    }

    pub(super) fn http2() -> Self {
        Self::Http2(Lengths::new(HTTP2_HEADER, PREFACE))
    }

    /// All bytes of the handshake count until [`Self::handshake_is_over`].
    pub(super) fn tls() -> Self {
        Self::Tls { records: Lengths::new(TLS_HEADER, 0), is_handshaking: true }
    }

    pub(super) fn handshake_is_over(&mut self) {
        if let Self::Tls { records, is_handshaking } = self {
            *is_handshaking = false;
            records.unfinished = if records.is_between() { 0 } else { records.have };
        }
    }

    /// Takes note of the next bytes. Returns how many bytes the unfinished unit has.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Heads { life, heard, bytes: unfinished } => {
                let (now, is_busy) = (life.heard(), life.is_busy());
                if now != *heard || is_busy {
                    (*heard, *unfinished) = (now, 0);
                }
                if !is_busy {
                    *unfinished += bytes.len();
                }
                *unfinished
            }
            Self::Http2(frames) => frames.read(bytes, true),
            Self::Tls { records, is_handshaking } => records.read(bytes, !*is_handshaking),
        }
    }
}

impl Lengths {
    fn new(size: usize, preface: usize) -> Self {
        Self { header: [0; HTTP2_HEADER], size, have: 0, left: preface, is_block_open: false, unfinished: 0 }
    }

    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.is_block_open
    }

    fn read(&mut self, mut bytes: &[u8], ends_count: bool) -> usize {
        while !bytes.is_empty() {
            let wanted = if self.left > 0 { self.left } else { self.size - self.have };
            let (new, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            self.unfinished += new.len();
            if self.left > 0 {
                self.left -= new.len();
            } else {
                for (place, byte) in self.header.iter_mut().skip(self.have).zip(new) {
                    *place = *byte;
                }
                self.have += new.len();
                if self.have == self.size {
                    self.have = 0;
                    self.begin();
                }
            }
            if ends_count && self.is_between() {
                self.unfinished = 0;
            }
        }
        self.unfinished
    }

    /// A header is complete.
    fn begin(&mut self) {
        let length = |bytes: [u8; 3]| bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        match (self.size, self.header) {
            (TLS_HEADER, [_, _, _, high, low, ..]) => self.left = length([0, high, low]),
            (_, [high, middle, low, kind, flags, ..]) => {
                self.left = length([high, middle, low]);
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.is_block_open = flags & END_HEADERS == 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::life::UnderWay;
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(vec![b'x'; length.into()]);
        frame
    }

    #[test]
    fn a_header_block_of_http2_is_unfinished_until_its_last_frame_in_whatever_pieces_it_comes() {
        let (settings, data) = (frame(4, 0, 6), frame(0, 1, 40));
        let block = [frame(HEADERS, 0, 30), frame(CONTINUATION, 0, 0), frame(CONTINUATION, END_HEADERS, 7)].concat();
        let whole = [vec![b'-'; PREFACE], settings, frame(HEADERS, END_HEADERS, 9), data, block.clone()].concat();
        for piece in [1, 2, 7, 64, whole.len()] {
            let mut framing = Framing::http2();
            let (mut last, mut most) = (0, 0);
            for bytes in whole.chunks(piece) {
                last = framing.read(bytes);
                most = most.max(last);
            }
            assert_eq!(last, 0, "pieces of {piece}");
            assert!(most <= block.len(), "{most}");
            assert_eq!(framing.read(&frame(HEADERS, 0, 200)), 209);
            assert_eq!(framing.read(&[]), 209);
        }
    }

    #[test]
    fn a_tls_record_is_unfinished_until_its_end_and_a_handshake_as_a_whole() {
        let record = |length: u8| [vec![23, 3, 3, 0, length], vec![b'x'; length.into()]].concat();
        let mut framing = Framing::tls();
        assert_eq!(framing.read(&record(20)), 25);
        let second = record(100);
        assert_eq!(framing.read(&second[..60]), 85);
        framing.handshake_is_over();
        assert_eq!(framing.read(&second[60..104]), 44);
        assert_eq!(framing.read(&second[104..]), 0);
        assert_eq!((framing.read(&second[..3]), framing.read(&second[3..])), (3, 0));
    }

    #[test]
    fn a_head_of_http1_is_unfinished_until_its_request_is_heard_and_a_body_is_no_head() {
        let life = Arc::<Life>::default();
        let mut framing = Framing::heads(Arc::clone(&life));
        assert_eq!((framing.read(b"GET / "), framing.read(b"HTTP/1.1")), (6, 14));
        let request = UnderWay::begin(&life);
        assert_eq!((framing.read(&[]), framing.read(b"body")), (0, 0));
        drop(request);
        assert_eq!((framing.read(&[]), framing.read(b"GET")), (0, 3));
        // Heard and answered between two reads.
        drop(UnderWay::begin(&life));
        assert_eq!(framing.read(b"GE"), 2);
    }
}
