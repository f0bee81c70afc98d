//! An API process's side of being replaced: serve until asked to end, and lose no request on the way.
//!
//! Asked to end, a process takes no new connection (they go to the others on the same socket, or wait in its queue), answers what is
//! under way with `Connection: close`, so that busy clients come back on a new connection, and only then closes the idle ones.
//!
//! Must not know: what is served, or who asked.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt as _};

use super::peer::WithPeer;

/// How long connections are kept for their next request before idle ones are closed.
const LAST_ROUND: Duration = Duration::from_millis(500);
/// The pause after a failed accept (no file descriptors left, most often).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` on `listener` until `end` is there, then ends gracefully. Returns when every request is answered; how long that may
/// take is up to who asked (the supervisor's grace period).
///
/// # Errors
/// When the listener can't be used with this runtime.
pub async fn serve<S>(
    listener: std::net::TcpListener,
    app: S,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    listener.set_nonblocking(true)?;
    let (ending, is_ending) = watch::channel(false);
    let (open, is_open) = watch::channel(0_usize);
    let accepting = Accepting { listener: TcpListener::from_std(listener)?, ending: is_ending.clone(), open };
    let app = app.map_response(move |response| say_goodbye(*is_ending.borrow(), response));
    let close = async move {
        end.await;
        let _ = ending.send(true);
        let mut open = is_open;
        // Nobody left, or the time is over; either way it is time to close.
        let _ = timeout(LAST_ROUND, open.wait_for(|count| *count == 0)).await;
    };
    axum::serve(accepting, WithPeer(app)).with_graceful_shutdown(close).await
}

/// Resolves when this process is asked to end: SIGTERM (the supervisor, a service manager) or SIGINT (a terminal).
///
/// # Errors
/// When the signals can't be listened for.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Tells the supervisor that this process is ready: `READY <revision>` on standard output. Does nothing without a supervisor.
///
/// # Errors
/// When standard output is gone, and with it the supervisor.
pub fn announce_ready() -> io::Result<()> {
    let Ok(revision) = std::env::var("BETAGATE_REVISION") else { return Ok(()) };
    let mut output = io::stdout().lock();
    writeln!(output, "READY {revision}")?;
    output.flush()
}

fn say_goodbye(ending: bool, mut response: Response) -> Response {
    if ending {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A listener that stops accepting when the process is to end, and counts what it has accepted.
struct Accepting {
    listener: TcpListener,
    ending: watch::Receiver<bool>,
    open: watch::Sender<usize>,
}

impl Listener for Accepting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let ending = async { drop(self.ending.wait_for(|ending| *ending).await) };
            let accepted = tokio::select! {
                biased;
                () = ending => std::future::pending().await,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are small and whole: waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    self.open.send_modify(|count| *count += 1);
                    return (Connection { stream, open: self.open.clone() }, peer);
                }
                Err(error) if connection_failed(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Whether an error of `accept` is about the one connection and not about the listener.
fn connection_failed(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// An accepted connection, counted as long as it lives.
struct Connection {
    stream: TcpStream,
    open: watch::Sender<usize>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.send_modify(|count| *count -= 1);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
