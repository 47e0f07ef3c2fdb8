//! What a listener serves.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceExt};

/// Answers the requests of a listener. Unlike a [`Service`], its future need not have a name, and so need not be boxed.
pub trait Answer: Clone + Send + 'static {
    /// Answers one request of `peer`.
    fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;
}

/// A service, such as a router. Each request carries `ConnectInfo<SocketAddr>` in its extensions.
#[derive(Debug, Clone)]
pub struct Routed<S>(pub S);

impl<S> Answer for Routed<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    fn answer(self, mut request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send {
        request.extensions_mut().insert(ConnectInfo(peer));
        self.0.oneshot(request).map(|answer| match answer {
            Ok(response) => response,
            Err(never) => match never {},
        })
    }
}
