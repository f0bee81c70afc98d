//! An API process's side of being replaced: serve until asked to end, and lose no request on the way.
//!
//! Asked to end, a process takes no new connection (they go to the others on the same socket, or wait in its queue), answers what is
//! under way with `Connection: close`, so that busy clients come back on a new connection, and only then closes the idle ones.
//!
//! Must not know: what is served, or who asked.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connection::{self, Ending, LOOK_EVERY};

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
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (close, closing) = watch::channel(false);
    let ending = Ending { goodbye: Arc::new(AtomicBool::new(false)), close: closing };
    let open = TaskTracker::new();
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let pause = async || sleep(LOOK_EVERY).await;
                open.spawn(connection::answer(stream, peer, app.clone(), ending.clone(), pause));
            }
            Err(error) if connection_failed(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    ending.goodbye.store(true, Ordering::Relaxed);
    open.close();
    // Nobody left, or the time is over; either way it is time to close.
    let _ = timeout(LAST_ROUND, open.wait()).await;
    close.send_replace(true);
    open.wait().await;
    Ok(())
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

/// Whether an error of `accept` is about the one connection and not about the listener.
fn connection_failed(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
