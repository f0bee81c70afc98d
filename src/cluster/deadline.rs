//! How long the API server may take. The client itself waits for ever, and a connection whose other side is gone without a word (a machine that lost its
//! power, a load balancer that lets packets fall) is told by nobody: one request that hangs would stop whatever waits for it.
//!
//! - An answer begins in time, and goes on in time, else the request fails as it does where nobody listens.
//! - A watch may be silent: the server sends a bookmark about once a minute. One that is silent for longer ends as if the server had ended it, which is
//!   nothing unusual: it is begun again where it was.
//!
//! Must not know: what is asked. Whoever has less time has a deadline of its own besides.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body as Answer, Bytes, HttpBody};
use axum::http::{Method, Request, Response, Uri};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyStream, StreamBody};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

/// How long it may take, by what is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Until the answer to a question begins, and between its parts.
    pub short: Duration,
    /// The same of a write, as admission webhooks may take half a minute each and the server gives up after one, and of a page of a list, for which a busy
    /// server may take as long.
    pub long: Duration,
    /// Between two parts of a watch.
    pub silence: Duration,
}

impl Deadlines {
    pub(super) const USUAL: Self =
        Self { short: Duration::from_secs(10), long: Duration::from_secs(65), silence: Duration::from_secs(150) };

    fn of(self, method: &Method, uri: &Uri) -> (Duration, AfterSilence) {
        let asks = |what: &str| uri.query().unwrap_or_default().split('&').any(|one| one.starts_with(what));
        if asks("watch=true") || asks("follow=true") {
            return (self.short, AfterSilence::Ends(self.silence));
        }
        let within = if method == Method::GET && !asks("limit=") { self.short } else { self.long };
        (within, AfterSilence::Fails(within))
    }
}

/// What an answer does that does not go on.
#[derive(Clone, Copy, Debug)]
enum AfterSilence {
    Ends(Duration),
    Fails(Duration),
}

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs())]
struct Late(Duration);

impl<S> Layer<S> for Deadlines {
    type Service = Bounded<S>;

    fn layer(&self, service: S) -> Self::Service {
        Bounded { service, deadlines: *self }
    }
}

/// A way to the API server whose answers come in time.
pub(super) struct Bounded<S> {
    service: S,
    deadlines: Deadlines,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (within, silence) = self.deadlines.of(request.method(), request.uri());
        let asked = self.service.call(request);
        Box::pin(async move {
            let answer = timeout(within, asked).await.map_err(|_| Late(within))?.map_err(Into::into)?;
            Ok(answer.map(|body| in_time(body, silence)))
        })
    }
}

/// An answer's content, part by part.
fn in_time<B>(body: B, silence: AfterSilence) -> Answer
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (AfterSilence::Ends(most) | AfterSilence::Fails(most)) = silence;
    let parts = stream::unfold(Some(Box::pin(BodyStream::new(body))), move |parts: Option<_>| async move {
        let mut parts = parts?;
        match (timeout(most, parts.next()).await, silence) {
            (Ok(Some(Ok(part))), _) => Some((Ok(part), Some(parts))),
            (Ok(Some(Err(error))), _) => Some((Err(error.into()), None)),
            (Ok(None), _) | (Err(_), AfterSilence::Ends(_)) => None,
            (Err(_), AfterSilence::Fails(most)) => Some((Err(BoxError::from(Late(most))), None)),
        }
    });
    Answer::new(StreamBody::new(parts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::convert::Infallible;

    use futures_util::TryStreamExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{DeleteParams, ListParams, PostParams, WatchParams};
    use kube::client::ClientBuilder;
    use kube::{Api, Client};
    use tokio::time::sleep;
    use tower::service_fn;

    use super::*;

    /// Nobody waits so long in a test, and nothing comes sooner.
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn client<F>(deadlines: Deadlines, answer: impl Fn() -> F + Send + Sync + 'static) -> Api<ConfigMap>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let service = service_fn(move |_: Request<Body>| {
            let answer = answer();
            async move { Ok::<_, Infallible>(Response::new(answer.await)) }
        });
        let client: Client = ClientBuilder::new(service, "beta").with_layer(&deadlines).build();
        Api::default_namespaced(client)
    }

    /// The parts of an answer, each after a pause; then nothing more, and no end.
    fn parts(pause: Duration, parts: &'static [&'static str]) -> Answer {
        let parts = stream::iter(parts).then(move |part| async move {
            sleep(pause).await;
            Ok::<_, Infallible>(*part)
        });
        Answer::from_stream(parts.chain(stream::pending()))
    }

    #[tokio::test]
    async fn a_request_that_nobody_answers_fails_and_one_that_stops_in_the_middle_too() {
        let reads = Deadlines { short: SHORT, long: LONG, silence: LONG };
        let silent = client(reads, std::future::pending);
        assert!(silent.get("a").await.unwrap_err().to_string().contains("did not answer within"));
        assert!(silent.list(&ListParams::default()).await.is_err());
        let stops = client(reads, || async { parts(Duration::ZERO, &["{\"metadata\":"]) });
        assert!(stops.get("a").await.unwrap_err().to_string().contains("did not answer within"));

        let others = Deadlines { short: LONG, long: SHORT, silence: LONG };
        let silent = client(others, std::future::pending);
        assert!(silent.create(&PostParams::default(), &ConfigMap::default()).await.is_err());
        assert!(silent.delete("a", &DeleteParams::default()).await.is_err());
        assert!(silent.list(&ListParams::default().limit(100)).await.is_err());
    }

    const EVENTS: &[&str] = &[
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n",
        "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n",
    ];

    #[tokio::test]
    async fn a_watch_may_be_silent_for_longer_than_any_answer_and_one_that_is_dead_ends() {
        let patient = Deadlines { short: SHORT, long: SHORT, silence: LONG };
        let slow = client(patient, || async { parts(3 * SHORT, EVENTS) });
        let events = slow.watch(&WatchParams::default(), "1").await.unwrap();
        assert_eq!(events.take(2).try_collect::<Vec<_>>().await.unwrap().len(), 2);

        let dead = client(Deadlines { silence: SHORT, ..patient }, || async { parts(Duration::ZERO, EVENTS) });
        let events = dead.watch(&WatchParams::default(), "1").await.unwrap();
        // It is no failure: kube-runtime begins it again where it was.
        assert_eq!(events.try_collect::<Vec<_>>().await.unwrap().len(), 2);

        let silent = client(patient, std::future::pending);
        assert!(silent.watch(&WatchParams::default(), "1").await.is_err(), "nobody even began to answer");
    }
}
