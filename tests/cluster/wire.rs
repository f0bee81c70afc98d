//! The wire between a controller and the real API server: counts the writes, and can be cut, or answer for a server that is busy, away, or has
//! forgotten where a watch was.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::watch;
use tower::{BoxError, Service};

type Answer = Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin>;

/// What a test does to the wire. Clones are the same wire.
#[derive(Clone)]
pub struct Wire(Arc<State>);

struct State {
    /// Every write: its method and path.
    writes: Mutex<Vec<String>>,
    away: AtomicBool,
    busy: AtomicUsize,
    /// Writes that still come through, once they are counted down.
    left: AtomicUsize,
    /// The watches that were told that their place in history is gone, while that is what they are told.
    forgotten: Mutex<Option<HashSet<String>>>,
    cut: watch::Sender<usize>,
}

impl Wire {
    /// A client whose requests go over a wire of its own, as somebody.
    pub async fn client(user: Option<&str>) -> (Client, Wire) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = State {
            writes: Mutex::default(),
            away: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            left: AtomicUsize::new(usize::MAX),
            forgotten: Mutex::new(None),
            cut: watch::Sender::new(0),
        };
        let wire = Wire(Arc::new(state));
        let mut config = Config::infer().await.unwrap();
        config.auth_info.impersonate = user.map(str::to_owned);
        let over = wire.clone();
        let layer = tower::layer::layer_fn(move |inner| Over { inner, wire: over.clone() });
        (ClientBuilder::try_from(config).unwrap().with_layer(&layer).build(), wire)
    }

    /// How many writes went over it.
    pub fn writes(&self) -> usize {
        self.0.writes.lock().unwrap().len()
    }

    /// Those after so many: their methods and paths.
    pub fn written_after(&self, writes: usize) -> Vec<String> {
        self.0.writes.lock().unwrap()[writes..].to_vec()
    }

    /// Breaks what is open; nothing comes through until [`Wire::mend`].
    pub fn cut(&self) {
        self.0.away.store(true, Ordering::SeqCst);
        self.0.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Lets everything through again; `forgotten`: watches are told once that what they ask for is gone (410).
    pub fn mend(&self, forgotten: bool) {
        *self.0.forgotten.lock().unwrap() = forgotten.then(HashSet::new);
        self.0.away.store(false, Ordering::SeqCst);
    }

    /// How many watches were told so.
    pub fn told_gone(&self) -> usize {
        self.0.forgotten.lock().unwrap().as_ref().map_or(0, HashSet::len)
    }

    /// The next writes are answered with 429.
    pub fn busy(&self, writes: usize) {
        self.0.busy.store(writes, Ordering::SeqCst);
    }

    /// After so many more writes of resources themselves (statuses aside), none comes through; [`usize::MAX`]: all do.
    pub fn let_write(&self, writes: usize) {
        self.0.left.store(writes, Ordering::SeqCst);
    }

    /// How many more writes will be.
    pub fn still_busy(&self) -> usize {
        self.0.busy.load(Ordering::SeqCst)
    }

    /// What is answered in place of the server.
    fn instead(&self, request: &Request<Body>) -> Option<Result<Response<Answer>, BoxError>> {
        let state = &self.0;
        if state.away.load(Ordering::SeqCst) {
            return Some(Err("the wire is cut".into()));
        }
        if request.method() != Method::GET {
            state.writes.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
            let less = |left: usize| left.checked_sub(1);
            let counted = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
            let of_status = request.uri().path().ends_with("/status");
            if !of_status && state.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted).is_err() {
                return Some(Err("the wire is cut for writes".into()));
            }
            if state.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                return Some(Ok(refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")));
            }
        } else if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let first = |told: &mut HashSet<String>| told.insert(request.uri().path().to_owned());
            if state.forgotten.lock().unwrap().as_mut().is_some_and(first) {
                return Some(Ok(refusal(StatusCode::GONE, "Expired")));
            }
        }
        None
    }

    /// The body until the wire is cut.
    fn until_cut(&self, body: Answer) -> Answer {
        let mut cuts = self.0.cut.subscribe();
        let cut = async move { drop(cuts.changed().await) };
        let frames = body.into_data_stream().take_until(Box::pin(cut)).map_ok(Frame::data);
        let frames: Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BoxError>> + Send>> = Box::pin(frames);
        Box::new(StreamBody::new(frames))
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response<Answer> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code.as_u16(),
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| -> BoxError { match never {} });
    Response::builder().status(code).header("content-type", "application/json").body(Box::new(body) as Answer).unwrap()
}

struct Over<S> {
    inner: S,
    wire: Wire,
}

impl<S> Service<Request<Body>> for Over<S>
where
    S: Service<Request<Body>, Response = Response<Answer>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(answer) = self.wire.instead(&request) {
            return Box::pin(std::future::ready(answer));
        }
        let (answered, wire) = (self.inner.call(request), self.wire.clone());
        Box::pin(async move { Ok(answered.await?.map(|body| wire.until_cut(body))) })
    }
}
