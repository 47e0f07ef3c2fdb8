//! The limit of a miss: hyper's server and hyper-util's pooled client, the body passed on, nothing parsed or signed.
//!
//!   limit-proxy --listen ADDRESS:PORT --upstream ADDRESS:PORT

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use idgate_peers::{address, listen, serve};

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn ask(client: Upstream, uri: Uri, question: Request<Incoming>) -> Result<Bytes, Failure> {
    let body = question.into_body().collect().await?.to_bytes();
    let request = Request::builder().method(Method::POST).uri(uri).header(CONTENT_TYPE, "application/json");
    let answer = client.request(request.body(Full::new(body))?).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}

async fn pass_on(client: Upstream, uri: Uri, question: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
    let mut response = Response::default();
    match ask(client, uri, question).await {
        Ok(body) => *response.body_mut() = Full::new(body),
        Err(_) => *response.status_mut() = StatusCode::BAD_GATEWAY,
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn main() {
    let (address, upstream) = (address("listen"), address("upstream"));
    let uri: Uri = format!("http://{upstream}/").parse().expect("a URI");
    serve(async move {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Upstream =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(usize::MAX).build(connector);
        let listener = listen(address);
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (client, uri) = (client.clone(), uri.clone());
            let service = service_fn(move |question| pass_on(client.clone(), uri.clone(), question));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}
