//! The memory of a process to which strangers send heads that they never finish.

use std::io::Write;
use std::net::TcpStream;

use super::SandboxProcess;
use crate::support::{Pair, Reply, anybody, client, eventually};

/// Of 60 KiB each: more than four times the budget.
const STRANGERS: usize = 2_500;

const MIB: usize = 1024 * 1024;

fn resident(sandbox: &SandboxProcess) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

async fn ask(http: &reqwest::Client, sandbox: &SandboxProcess, pair: &Pair) -> Reply {
    let request = http.post(format!("http://{}/v1/verify", sandbox.public)).header("content-type", "application/json");
    Reply::of(request.body(pair.body().to_string()).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_never_finished_take_little_memory_and_give_it_back() {
    let sandbox = SandboxProcess::start(&[], &[("IDGATE__LOG__FILE", "/dev/null")]);
    let http = client();
    assert_eq!(ask(&http, &sandbox, &anybody()).await.status, 200);
    let before = resident(&sandbox);
    let head = format!("POST /v1/verify HTTP/1.1\r\nhost: a\r\nlong: {}", "a".repeat(60 * 1024));
    let mut strangers: Vec<_> = (0..STRANGERS).map(|_| TcpStream::connect(sandbox.public).unwrap()).collect();
    let mut most = 0;
    for batch in strangers.chunks_mut(100) {
        for stranger in batch {
            // Some are cut while they write.
            let _ = stranger.write_all(head.as_bytes());
        }
        most = most.max(resident(&sandbox));
        assert_eq!(ask(&http, &sandbox, &anybody()).await.status, 200, "others are answered");
    }
    let grown = (most - before) / MIB;
    assert!(grown < 110, "{grown} MiB for {STRANGERS} strangers");
    drop(strangers);
    eventually("the memory is given back", async || (resident(&sandbox).saturating_sub(before)) / MIB < 60).await;
}
