//! The `idgate` binary. `idgate --help` lists the commands.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// mimalloc is faster than the system allocator for small, short-lived allocations. `ZeroAlloc` wipes memory when it is
/// freed, because names, ID numbers and secrets pass through the buffers of many libraries.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    idgate::app::commands::main()
}
