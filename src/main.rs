//! idgate: do this name and this Chinese ID number belong together? `idgate --help` lists the commands.

use std::process::ExitCode;

/// Most of a request's allocations are small and short-lived, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    idgate::app::commands::main()
}
