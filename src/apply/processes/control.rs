//! What a supervisor and a shim say to each other over the socket between them.
//!
//! Supervisor to shim: single bytes. The first is [`GO`], and may carry a file descriptor: the process's standard input.
//! Shim to supervisor: lines, see [`Report`]. The end of the socket means that the other side is gone.
//!
//! Must not know: what either side does about it.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// Start the process.
pub(super) const GO: u8 = b'G';
/// Ask the process to end (SIGTERM to its group).
pub(super) const TERMINATE: u8 = b'T';
/// End the process and all it has started (SIGKILL).
pub(super) const KILL: u8 = b'K';

/// What a shim reports, one line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The process runs under this id, which is also the id of its group.
    Pid(i32),
    /// It ended by itself, with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(id) => writeln!(f, "pid {id}"),
            Self::Code(code) => writeln!(f, "code {code}"),
            Self::Signal(signal) => writeln!(f, "signal {signal}"),
        }
    }
}

impl Report {
    /// Reads one line; anything unknown is nothing (a shim is always of the same binary, but a line can be cut off by its end).
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.trim_end().split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "pid" => Some(Self::Pid(number)),
            "code" => Some(Self::Code(number)),
            "signal" => Some(Self::Signal(number)),
            _ => None,
        }
    }
}

/// Sends [`GO`], with the standard input of the process when there is one.
pub(super) fn send_go(socket: &UnixStream, input: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
    let given: Vec<BorrowedFd<'_>> = input.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !given.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&given));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&[GO])], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for [`GO`] and takes what came with it. `None` when the supervisor is gone, or says anything else, before that.
pub(super) fn receive_go(socket: &impl AsFd) -> rustix::io::Result<Option<Option<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes != 1 || byte[0] != GO {
        return Ok(None);
    }
    let mut input = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            input = descriptors.next();
        }
    }
    Ok(Some(input))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    #[test]
    fn reports_read_back_and_cut_off_ones_are_nothing() {
        for report in [Report::Pid(7), Report::Code(0), Report::Signal(9)] {
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
        for cut in ["", "pid", "pid ", "pid x", "cod"] {
            assert_eq!(Report::parse(cut), None);
        }
    }

    #[test]
    fn go_carries_a_descriptor_or_none_and_the_end_is_noticed() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send_go(&here, Some(file.as_fd())).unwrap();
        assert!(matches!(receive_go(&there), Ok(Some(Some(_)))));
        send_go(&here, None).unwrap();
        assert!(matches!(receive_go(&there), Ok(Some(None))));
        drop(here);
        assert!(matches!(receive_go(&there), Ok(None)));
    }
}
