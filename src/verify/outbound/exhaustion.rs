//! Tells our own lack of descriptors or memory from a failure of the provider.
//!
//! Invariant: only an error of the operating system that says so counts. A full table of ports does not, because Linux
//! reports it like a missing IPv6 address.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

// The same numbers on all Linux architectures that Rust supports but MIPS and SPARC, which differ in ENOBUFS only.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
/// From epoll: the limit on watched descriptors.
const ENOSPC: i32 = 28;
const ENOBUFS: i32 = 105;

/// Whether the operating system refused `error`'s operation for want of descriptors or memory.
pub(super) fn is_cause(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOSPC | ENOBUFS))
}

/// Such an error.
pub(super) fn error() -> io::Error {
    io::Error::from_raw_os_error(EMFILE)
}

/// Whether such an error is in the source chain of a failed connection.
pub(super) fn is_behind(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(is_cause) {
            return true;
        }
        // `io::Error::source` skips the wrapped error itself.
        if io.and_then(io::Error::get_ref).is_some_and(|wrapped| is_behind(wrapped)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The reason why no socket can be opened now, if none can. The system's resolver does not report it.
pub(super) fn now() -> Option<io::Error> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).err().filter(is_cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_systems_own_words_count() {
        let wrapped = |code| io::Error::other(io::Error::from_raw_os_error(code));
        assert!(is_behind(&wrapped(EMFILE)) && is_behind(&wrapped(ENOBUFS)));
        assert!(is_behind(&io::Error::other(io::Error::other(error()))));
        const ECONNREFUSED: i32 = 111;
        assert!(!is_behind(&wrapped(ECONNREFUSED)) && !is_behind(&io::Error::other("no such name")));
    }
}
