//! idgate: do this name and this Chinese ID number belong together? `idgate --help` lists the commands.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Most of a request's allocations are small and short-lived, which the system's allocator is slow at. What is freed is
/// wiped: names, numbers and secrets pass through buffers of many libraries, and none of them is left behind.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    idgate::app::commands::main()
}
