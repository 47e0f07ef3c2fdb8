//! Keeps personal data and secrets out of memory dumps.
//!
//! Three things wipe memory. The allocator in `main` zeroes freed memory. `stack_wiper` zeroes the unused part of a
//! worker's stack, and [`wiping`] the stack used for reading a configuration. `server::listener` zeroes the buffer
//! of a connection that waits for its next request. A test (`tests/it/app/residue.rs`) reads a core of the idle
//! process. [`forbid_dumps`] prevents dumps altogether.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::config::Profile;

/// More stack than a request uses. Frames of a debug build are much larger: a request over TLS needs more than 128 KiB.
const DEPTH: usize = if cfg!(debug_assertions) { 512 * 1024 } else { 128 * 1024 };

const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);
const PROBE: usize = 1024 * 1024;

/// Wipes the unused stack below the caller. For a thread that is about to sleep: moved values and working memory of
/// digests stay on the stack until they are overwritten.
pub(super) fn wipe_stack() {
    zeroize::zeroize_stack::<DEPTH>();
}

/// Runs `work`, which handles secrets on a thread that is not a worker, and wipes the stack it used.
pub(super) fn wiping<T>(work: impl FnOnce() -> T) -> T {
    // The frame of `work` must be gone before the stack is wiped.
    #[inline(never)]
    fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let done = in_own_frame(work);
    wipe_stack();
    done
}

/// In production, disables core dumps and access by other processes of the same user. Root can still read the memory.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn forbid_dumps(profile: Profile) -> anyhow::Result<()> {
    if profile == Profile::Development {
        return Ok(());
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        // Some core dump collectors check this limit instead.
        .and_then(|()| setrlimit(Resource::Core, none))
        .context(
            "core dumps, which would contain secrets, cannot be disabled; allow prctl and setrlimit in the seccomp \
             profile",
        )
}

/// From time to time makes the allocator look for memory that it can give back to the system. It looks only when it is
/// used, so an idle process would keep what a flood of connections has taken.
pub(super) async fn give_back_regularly() -> Infallible {
    loop {
        tokio::time::sleep(GIVE_BACK_EVERY).await;
        // Too large for a page that is shared, so that it is returned at once.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(PROBE)));
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn production_leaves_no_core_file() {
        forbid_dumps(Profile::Development).unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        forbid_dumps(Profile::Production).unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
