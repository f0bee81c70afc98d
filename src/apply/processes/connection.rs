//! One connection of an API process: its requests, one after the other, until it ends, is asked to, or nothing comes of it any more.
//!
//! A client that sends nothing, sends for ever, or reads nothing of its answer takes a place that others need. Whether anything comes of a
//! connection is looked at now and then, by one slow timer a connection: a timer for each request would cost what a tenth of a flag's
//! evaluation costs.
//!
//! Must not know: what is served, or who asked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::{Service, ServiceExt as _};

/// A connection on which no request arrived and nothing could be written from one look to the next is closed. Clients keep idle
/// connections for up to 90 s, and should be the ones to end them.
pub const LOOK_EVERY: Duration = Duration::from_secs(100);
/// What is asked so often that even telling it who asks is too much, and nobody reads it there.
const UNTOLD: &str = "/ofrep/";

/// How a process ends: first every answer says good-bye, then the connections are closed.
#[derive(Clone)]
pub struct Ending {
    /// Answers say `Connection: close`.
    pub goodbye: Arc<AtomicBool>,
    /// What is idle is closed; what is under way is answered.
    pub close: watch::Receiver<bool>,
}

/// Answers the requests of `stream` with `app`, and tells each whose connection it came on, as axum's [`ConnectInfo`]. Whenever `pause` is
/// over, it is time for a look at whether anything comes of it.
pub async fn answer<S>(stream: TcpStream, peer: SocketAddr, app: S, mut ending: Ending, pause: impl AsyncFnMut())
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    // Answers are small and whole: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let moved = Arc::new(AtomicUsize::new(0));
    let goodbye = ending.goodbye.clone();
    let asked = moved.clone();
    let app = service_fn(move |mut request: Request<Incoming>| {
        asked.fetch_add(1, Ordering::Relaxed);
        if !request.uri().path().starts_with(UNTOLD) {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let (answered, goodbye) = (app.clone().oneshot(request), goodbye.clone());
        async move {
            let mut response = answered.await?;
            if goodbye.load(Ordering::Relaxed) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(Watched { stream, moved: moved.clone() });
    let mut connection = pin!(http1::Builder::new().serve_connection(stream, app));
    let mut stuck = pin!(stuck(&moved, pause));
    {
        let mut close = pin!(ending.close.wait_for(|close| *close));
        tokio::select! {
            biased;
            // How it ended is the client's affair.
            _ = connection.as_mut() => return,
            _ = &mut close => {}
            () = stuck.as_mut() => return,
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = stuck => {}
    }
}

/// Resolves when nothing comes of a connection any more.
async fn stuck(moved: &AtomicUsize, mut pause: impl AsyncFnMut()) {
    let mut seen = None;
    loop {
        pause().await;
        let now = moved.load(Ordering::Relaxed);
        if seen == Some(now) {
            return;
        }
        seen = Some(now);
    }
}

/// A stream that counts what could be written to it.
struct Watched {
    stream: TcpStream,
    moved: Arc<AtomicUsize>,
}

impl Watched {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.moved.fetch_add(*bytes, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
mod tests {
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    use super::*;

    /// A connection to an app, and its server's side.
    async fn connected(app: Router, pause: impl AsyncFnMut()) -> (TcpStream, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let (never, close) = watch::channel(false);
        let ending = Ending { goodbye: Arc::default(), close };
        let served = async move {
            answer(stream, peer, app, ending, pause).await;
            drop(never);
        };
        (client, served)
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_closed() {
        let head = "POST /echo HTTP/1.1\r\nhost: a\r\n";
        for sent in [String::new(), head.to_owned(), format!("{head}content-length: 9\r\n\r\nfour")] {
            let echo = Router::new().route("/echo", post(async |body: Bytes| body));
            let (mut client, served) = connected(echo, yield_now).await;
            client.write_all(sent.as_bytes()).await.unwrap();
            served.await;
            let mut answer = Vec::new();
            let ended = client.read_to_end(&mut answer).await;
            assert!(ended.is_err() || answer.is_empty(), "{sent:?}: {}", String::from_utf8_lossy(&answer));
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_closed() {
        let endless = || stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 65536])));
        let app = Router::new().route("/endless", get(async move || Body::from_stream(endless())));
        let (mut client, served) = connected(app, yield_now).await;
        client.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        served.await;
    }

    #[tokio::test]
    async fn a_stream_stays_open_as_long_as_something_is_written_between_two_looks() {
        let (write, mut written) = mpsc::unbounded_channel::<Bytes>();
        let (look, mut looks) = mpsc::unbounded_channel::<()>();
        let told = stream::poll_fn(move |cx| written.poll_recv(cx).map(|bytes| bytes.map(Ok::<_, Infallible>)));
        let told = Arc::new(std::sync::Mutex::new(Some(Body::from_stream(told))));
        let app = Router::new().route("/told", get(async move || told.lock().unwrap().take().unwrap()));
        let pause = async move || looks.recv().await.unwrap_or_default();
        let (mut client, served) = connected(app, pause).await;
        client.write_all(b"GET /told HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let reading = async {
            let mut seen = String::new();
            for n in 0..10 {
                write.send(format!("word {n}.").into()).unwrap();
                while !seen.contains(&format!("word {n}.")) {
                    let mut bytes = [0; 1024];
                    let count = client.read(&mut bytes).await.unwrap();
                    assert!(count > 0, "closed after {seen}");
                    seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                }
                look.send(()).unwrap();
            }
            look.send(()).unwrap();
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
        };
        tokio::join!(reading, served);
    }
}
