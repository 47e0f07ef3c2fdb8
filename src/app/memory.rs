//! What is left in memory when work is done: as little as can be.
//!
//! Three things wipe it. The allocator of `main` zeroes what is freed. [`wipe_stack`] zeroes what finished calls left
//! below a worker's feet when it has nothing to do, and [`wiping`] what reading a configuration left. `server::listener`
//! zeroes the buffer of a connection that waits for its next request. A test (`tests/it/app/residue.rs`) reads a core of the idle process. [`forbid_dumps`] is against
//! those that nobody asked for.

use anyhow::Context;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::config::Profile;

/// Deeper than a request goes. In a debug build, whose frames are many times as large, one over TLS goes beyond 128 KiB.
const DEPTH: usize = if cfg!(debug_assertions) { 512 * 1024 } else { 128 * 1024 };

/// Wipes the stack below the caller. For a worker that is about to sleep: a value that was moved, and a block that a
/// digest worked on, stay where they were until something else is written there.
pub(super) fn wipe_stack() {
    zeroize::zeroize_stack::<DEPTH>();
}

/// Does `work`, which looks at secrets on a thread that is no worker, and wipes the stack that it used.
pub(super) fn wiping<T>(work: impl FnOnce() -> T) -> T {
    // Its frame has to be gone before it can be wiped.
    #[inline(never)]
    fn of_its_own<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let done = of_its_own(work);
    wipe_stack();
    done
}

/// In production: no core file when the process crashes, and no look into it by another process of the same user. Root
/// can still look.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn forbid_dumps(profile: Profile) -> anyhow::Result<()> {
    if profile == Profile::Development {
        return Ok(());
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        // Some collectors of core files look at this instead.
        .and_then(|()| setrlimit(Resource::Core, none))
        .context(
            "core dumps, which hold secrets, cannot be turned off; does a seccomp profile forbid prctl or setrlimit?",
        )
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
