//! Tells each request whose connection it came on, as axum's [`ConnectInfo`].
//!
//! Must not know: what is made of it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::extract::{ConnectInfo, Request};
use axum::serve::{IncomingStream, Listener};
use tower::Service;

/// What is asked so often that even this is too much, and nobody reads it there.
const UNTOLD: &str = "/ofrep/";

/// Makes a [`Told`] for each connection.
#[derive(Clone)]
pub struct WithPeer<S>(pub S);

impl<S: Clone, L: Listener<Addr = SocketAddr>> Service<IncomingStream<'_, L>> for WithPeer<S> {
    type Response = Told<S>;
    type Error = Infallible;
    type Future = Ready<Result<Told<S>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        ready(Ok(Told { app: self.0.clone(), peer: *stream.remote_addr() }))
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
pub struct Told<S> {
    app: S,
    peer: SocketAddr,
}

impl<S: Service<Request>> Service<Request> for Told<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if !request.uri().path().starts_with(UNTOLD) {
            request.extensions_mut().insert(ConnectInfo(self.peer));
        }
        self.app.call(request)
    }
}
