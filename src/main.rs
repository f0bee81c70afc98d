//! Entry point: hands the arguments to the command line.

fn main() {}
