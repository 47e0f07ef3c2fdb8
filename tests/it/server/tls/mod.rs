//! A TLS listener: valid and invalid handshakes, HTTP/2 with all kinds of clients, and external tools.
//!
//! As with the plain listener, deadlines are short and real, and no test asserts how soon something happens.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, header};
use hyper::body::Incoming;
use idgate::domain::personal::Secret;
use idgate::server::listener::tls::{ClientCertificates, Failure, Material, PeerCertificate, Section};
use idgate::server::listener::{Config, Connections, Listener, Routed, Tls, TlsSwitch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::pki::{Authority, Issued, over_tls};

mod build;
mod handshake;
mod http1;
mod http2;
mod processes;

const SOON: Duration = Duration::from_millis(200);
/// Long enough for a handshake and a request on a busy machine.
const A_WHILE: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::from_secs(600);
/// Limit on the wait for a condition that another task brings about; only a broken test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// Deadlines so long that only the one that a test shortens takes effect.
fn patient() -> Config {
    Config {
        first_request_timeout: NEVER,
        keep_alive_timeout: NEVER,
        drain_timeout: NEVER,
        ping_interval: NEVER,
        ping_timeout: NEVER,
        max_connection_age: NEVER,
        ..Config::default()
    }
}

/// How a test's listener requests client certificates.
struct Asks<'a> {
    how: ClientCertificates,
    authority: Option<&'a Authority>,
    revoked: Option<Vec<u8>>,
    handshake_timeout: Duration,
}

const NOBODY: Asks<'static> =
    Asks { how: ClientCertificates::Off, authority: None, revoked: None, handshake_timeout: NEVER };

fn asks(authority: &Authority, how: ClientCertificates) -> Asks<'_> {
    Asks { how, authority: Some(authority), ..NOBODY }
}

impl Asks<'_> {
    fn tls(&self, server: &Issued) -> Tls {
        let section = Section {
            certificate: PathBuf::new(),
            client_ca: self.authority.map(|_| PathBuf::new()),
            client_crl: self.revoked.iter().map(|_| PathBuf::new()).collect(),
            client_certificate: self.how,
            handshake_timeout: self.handshake_timeout,
        };
        let (key, ca) = (Secret::new(&*server.key_pem), self.authority.map(Authority::pem));
        let material = Material {
            certificate: Some(server.certificate_pem.as_bytes()),
            key: Some(&key),
            client_ca: ca.as_ref().map(String::as_bytes),
            client_crl: self.revoked.iter().map(|list| Some(&**list)).collect(),
        };
        section.build(&material).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }
}

struct Server {
    addr: SocketAddr,
    connections: Connections,
    switch: TlsSwitch,
    stop: CancellationToken,
    /// Responses to `/held` wait for a permit.
    release: Arc<Semaphore>,
    /// Gets a permit for each `/held` that has arrived.
    arrived: Arc<Semaphore>,
    /// Requests in progress.
    under_way: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

/// The state that the test service shares with its test.
#[derive(Clone, Default)]
struct Gates {
    release: Arc<Gate>,
    arrived: Arc<Gate>,
    under_way: Arc<AtomicUsize>,
    leave: CancellationToken,
}

/// A semaphore that starts without permits.
struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

fn serve(config: Config, tls: Tls) -> Server {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config).unwrap().with_tls(tls);
    let (addr, connections, switch) = (listener.local_addr(), listener.connections(), listener.tls().unwrap());
    let gates = Gates::default();
    let stop = CancellationToken::new();
    let (release, arrived) = (gates.release.0.clone(), gates.arrived.0.clone());
    let under_way = gates.under_way.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| answer(request, gates.clone()));
    let served = tokio::spawn(listener.serve(Routed(service), stop.clone()));
    Server { addr, connections, switch, stop, release, arrived, under_way, served }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers with the client's URIs. `/held` waits for a permit, `/large` is larger than all buffers, `/leave` closes
/// the connection.
async fn answer(request: Request<Incoming>, gates: Gates) -> Result<Response<Body>, Infallible> {
    gates.under_way.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted(gates.under_way.clone());
    let path = request.uri().path().to_owned();
    if path == "/held" {
        gates.arrived.0.add_permits(1);
        gates.release.0.acquire().await.unwrap().forget();
    }
    if path == "/leave" {
        gates.leave.cancel();
    }
    let uris: Vec<_> = request.extensions().get::<PeerCertificate>().into_iter().flat_map(|one| one.uris()).collect();
    let body = if path == "/large" { "x".repeat(8 << 20) } else { format!("hello {}", uris.join(",")) };
    let mut response = Response::new(Body::from(body));
    if gates.leave.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, "close".parse().unwrap());
    }
    Ok(response)
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

/// Connects as `client`, over HTTP/1.1.
async fn secure(server: &Server, authority: &Authority, client: Option<&Issued>) -> TlsStream<TcpStream> {
    let connector = authority.connector(client, &[HTTP1]);
    over_tls(&connector, connect(server.addr).await).await.unwrap()
}

/// Sends one request over HTTP/1.1 and reads until the listener closes; returns the error if there is one.
async fn ask_once(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
    let mut got = String::new();
    stream.read_to_string(&mut got).await?;
    Ok(got)
}

/// Waits for a condition that another task brings about.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The number of handshakes that failed for this reason; panics if any failed for another.
fn failed(server: &Server, why: Failure) -> u64 {
    let all: Vec<_> = server.connections.handshakes_failed_total().filter(|(_, total)| *total > 0).collect();
    assert!(all.iter().all(|(reason, _)| *reason == why), "{all:?}");
    all.first().map_or(0, |(_, total)| *total)
}

impl Server {
    fn failures_are(&self, why: Failure, total: u64) -> bool {
        failed(self, why) == total
    }
}
