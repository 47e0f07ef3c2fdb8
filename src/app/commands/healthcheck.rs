//! `idgate healthcheck`: for containers without a shell.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::app::config::Sources;

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(sources: &Sources) -> anyhow::Result<ExitCode> {
    let mut address = sources.admin_listen().context("server.admin_listen cannot be read; `idgate check` says why")?;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    let answer = get(address, "/livez").with_context(|| format!("no answer from http://{address}/livez"))?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "http://{address}/livez does not answer 200");
    super::say("alive");
    Ok(ExitCode::SUCCESS)
}

/// One request, by hand: a whole HTTP client would be built for nothing else.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
