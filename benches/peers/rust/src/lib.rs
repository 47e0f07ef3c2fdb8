//! What the limits, the load generator and the invented provider share.

use std::net::SocketAddr;
use std::process::exit;
use std::str::FromStr;

pub mod histogram;
pub mod people;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the provider answers: name and number belong together.
pub const VERDICT: &str = r#"{"RequestId":"130A2C10-B9EE-4D84-88E3-5384FF039795","Message":"success","Code":"200","ResultObject":{"BizCode":"1"}}"#;

/// `--name value` of the command line.
pub fn argument<T: FromStr>(name: &str) -> Option<T> {
    let mut words = std::env::args().skip_while(|word| word != &format!("--{name}"));
    words.next()?;
    let value = words.next().unwrap_or_default();
    Some(value.parse().unwrap_or_else(|_| fail(&format!("--{name} {value}: not a value"))))
}

/// Whether `--name` is on the command line.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|word| word == format!("--{name}"))
}

pub fn address(name: &str) -> SocketAddr {
    argument(name).unwrap_or_else(|| fail(&format!("--{name} ADDRESS:PORT is missing")))
}

pub fn fail(why: &str) -> ! {
    eprintln!("{why}");
    exit(2)
}

/// Runs a server until SIGTERM, on as many threads as TOKIO_WORKER_THREADS says.
pub fn serve(server: impl Future<Output = ()> + Send + 'static) {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate()).expect("a signal handler");
        tokio::spawn(server);
        end.recv().await;
    });
}

pub fn listen(address: SocketAddr) -> tokio::net::TcpListener {
    let bind = || {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(4096)
    };
    bind().unwrap_or_else(|why: std::io::Error| fail(&format!("{address}: {why}")))
}
