//! Entry point: hands the arguments to the command line.

use std::process::ExitCode;

/// Gives back what is no longer used. A controller of ten thousand resources goes on for months, and the system's allocator keeps a third as much again of
/// what its first minutes took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // First, and before anything is set up: the shim of a supervised process stays as small as it can be.
    if let Some(code) = betagate::apply::processes::shim::run_if_asked() {
        return code;
    }
    betagate::cli::main()
}
