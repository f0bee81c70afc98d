//! The command line, one file a command: arguments in, text out.
//!
//! Must not know: how anything is done.
