//! Printing that outlives its reader: `betagate up | head` must go on guarding when nobody reads any more, and `betagate crd | head` must
//! not end with a panic. The standard macros panic then.
//!
//! Must not know: what is printed.

use std::fmt::Arguments;
use std::io::Write;

/// A line to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::line(&mut std::io::stdout().lock(), format_args!($($text)*)) };
}

/// Text to standard output, without an end of line.
macro_rules! say_part {
    ($($text:tt)*) => { $crate::cli::out::part(&mut std::io::stdout().lock(), format_args!($($text)*)) };
}

/// A line to standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::cli::out::line(&mut std::io::stderr().lock(), format_args!($($text)*)) };
}

/// Writes a line. What nobody reads is let go.
pub fn line(to: &mut impl Write, text: Arguments<'_>) {
    let _ = writeln!(to, "{text}");
}

/// Writes text without an end of line. What nobody reads is let go.
pub fn part(to: &mut impl Write, text: Arguments<'_>) {
    let _ = to.write_fmt(text);
}
