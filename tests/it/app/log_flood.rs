//! A stranger cannot fill the disk with our logs: lines about requests and connections of nobody we know are limited, and
//! one line says how many were left out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{PATIENCE, SandboxProcess, TempFile};
use crate::support::pki;

const FLOOD: usize = 400;

fn answer(process: &SandboxProcess, head: &str) -> String {
    let mut stream = TcpStream::connect(process.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {head}\r\nhost: {}\r\nconnection: close\r\n\r\n", process.admin).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn left_out(metrics: &str, sink: &str) -> usize {
    let series = format!("idgate_log_lines_left_out_total{{sink=\"{sink}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[test]
fn a_stranger_cannot_flood_either_log() {
    let (_authority, server) = pki::shared();
    let hash = hex::encode(Sha256::digest("idg_synthetic-op"));
    let config = TempFile::new(
        "flood.toml",
        &format!(
            "[log]\nlevel = \"info,idgate::server=debug\"\nstrangers_per_second = 3\n{}\n[operators.alice]\n\
             keys = [{{ id = \"a-1\", sha256 = \"{hash}\" }}]",
            server.section("tls", "")
        ),
    );
    let process = SandboxProcess::start(&["--config", config.path()], &[]);
    let began = Instant::now();
    for n in 0..FLOOD {
        assert!(answer(&process, "/v1/status HTTP/1.1").starts_with("HTTP/1.1 401"), "request {n}");
        let mut stream = TcpStream::connect(process.public).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Either an alert or a reset.
        let _ = stream.read_to_end(&mut Vec::new());
        if n % 40 == 0 {
            let known = answer(&process, "/v1/status HTTP/1.1\r\nauthorization: Bearer idg_synthetic-op");
            assert!(known.starts_with("HTTP/1.1 200"), "{known}");
        }
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    let metrics = answer(&process, "/metrics HTTP/1.1\r\nauthorization: Bearer idg_synthetic-op");
    let (access, of_process) = (left_out(&metrics, "access"), left_out(&metrics, "process"));
    process.terminate();
    let (status, out, err) = process.ended();
    assert!(status.success(), "{err}");
    let lines: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |status: u16| lines.iter().filter(|line| line["status"] == status).count();
    let told: u64 =
        lines.iter().filter(|line| line["kind"] == "left_out").map(|line| line["lines"].as_u64().unwrap()).sum();
    assert_eq!(of(200), FLOOD / 40, "an operator's request always has its line");
    assert!(of(401) <= 3 * seconds, "{} lines in {seconds} seconds", of(401));
    assert_eq!((of(401) + access, told), (FLOOD, access as u64), "every line is there, or counted and told");
    let failed = err.matches("a handshake failed").count();
    assert!(failed <= 50 * seconds, "{failed} lines in {seconds} seconds");
    assert_eq!(failed + of_process, FLOOD, "no other line was left out");
    assert_eq!(of_process > 0, err.contains("log lines were left out"), "{of_process} {err}");
}
