//! Entry point: hands the arguments to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First, and before anything is set up: the shim of a supervised process stays as small as it can be.
    if let Some(code) = betagate::apply::processes::shim::run_if_asked() {
        return code;
    }
    betagate::cli::main()
}
