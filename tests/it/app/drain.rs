//! SIGTERM under load: every accepted request is answered, and the process ends within its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{PATIENCE, SandboxProcess};
use crate::support::{Pair, client, person};

/// Clients behind a load balancer: they open connections until `closed` is set, and use each as long as it lasts.
#[derive(Default)]
struct Load {
    closed: AtomicBool,
    answered: AtomicUsize,
}

/// Sends one request on a keep-alive connection. Returns whether the gateway keeps it open.
async fn ask(stream: &mut TcpStream, pair: &Pair) -> Result<bool, String> {
    let body = pair.body().to_string();
    let request = format!(
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("while sending: {error}"))?;
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, answer)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if answer.len() == length.parse::<usize>().unwrap() {
                assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
                return Ok(!head.contains("connection: close"));
            }
        }
        match stream.read_buf(&mut got).await {
            Ok(0) => return Err(format!("closed after {text:?}")),
            Ok(_) => {}
            Err(error) => return Err(format!("{error} after {text:?}")),
        }
    }
}

/// Whether the peer has closed an idle connection.
fn is_closed(stream: &TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

impl Load {
    /// Asks until `closed` is set and its current connection is closed.
    async fn run(self: Arc<Self>, public: SocketAddr, who: u64) {
        let pair = person(who);
        while !self.closed.load(Ordering::SeqCst) {
            let mut stream = match TcpStream::connect(public).await {
                Ok(stream) => stream,
                Err(error) => panic!("refused before we were told: {error}"),
            };
            let mut kept = true;
            while kept && !is_closed(&stream) {
                kept = ask(&mut stream, &pair).await.unwrap_or_else(|lost| panic!("a request was lost: {lost}"));
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn start(self: &Arc<Self>, public: SocketAddr, clients: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        (0..clients).for_each(|who| drop(tasks.spawn(Arc::clone(self).run(public, who))));
        tasks
    }

    async fn wait_for(&self, answers: usize) {
        let began = Instant::now();
        while self.answered.load(Ordering::SeqCst) < answers {
            assert!(began.elapsed() < PATIENCE, "too few answers");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn all(mut tasks: JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request_and_no_paid_answer() {
    let sandbox = SandboxProcess::start(&[], &[("IDGATE__SERVER__DRAIN_NOTICE", "2s")]);
    let (public, admin, http) = (sandbox.public, sandbox.admin, client());
    let slow = person(77_777);
    let fault = format!(r#"{{"kind": "slow", "delay": "2500ms", "id_number": "{}"}}"#, slow.id_number);
    let set = http.put(format!("http://{admin}/sandbox/aliyun/fault")).body(fault).send().await.unwrap();
    assert_eq!(set.status(), 204);
    let load = Arc::new(Load::default());
    let clients = load.start(public, 16);
    load.wait_for(200).await;
    let waiting = {
        let (http, body) = (http.clone(), slow.body().to_string());
        let url = format!("http://{public}/v1/verify");
        tokio::spawn(async move { http.post(url).header("content-type", "application/json").body(body).send().await })
    };
    let calls = async || {
        let url = format!("http://{admin}/v1/status");
        http.get(url).send().await.unwrap().text().await.unwrap().contains("\"flights\":1")
    };
    let began = Instant::now();
    while !calls().await {
        assert!(began.elapsed() < PATIENCE, "the slow call does not begin");
    }

    sandbox.terminate();
    let stopped = Instant::now();
    // Like a load balancer: polls readiness, and sends nothing new once the instance is not ready.
    let ready = async || http.get(format!("http://{admin}/readyz")).send().await.unwrap().status();
    while ready().await == 200 {
        assert!(stopped.elapsed() < PATIENCE, "it stays ready");
    }
    assert_eq!(ready().await, 503);
    let mut late = TcpStream::connect(public).await.expect("connections are not refused yet");
    assert_eq!(ask(&mut late, &person(1)).await, Ok(false), "answered, and told to leave");
    load.closed.store(true, Ordering::SeqCst);
    all(clients).await;
    let answer = waiting.await.unwrap().expect("the call in flight is answered");
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["provenance"]["attempts"][0]["outcome"], "verdict", "{answer}");

    let (status, out, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(stopped.elapsed() >= Duration::from_secs(2), "the notice was given");
    assert!(err.contains("nothing was cut"), "{err}");
    assert!(TcpStream::connect(public).await.is_err());
    let requests = out.lines().filter(|line| line.contains("\"kind\":\"request\"")).count();
    assert_eq!(requests, load.answered.load(Ordering::SeqCst) + 2, "every answer has its line, the last ones too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_notice_still_answers_who_is_connected() {
    let sandbox = SandboxProcess::start(&[], &[]);
    let load = Arc::new(Load::default());
    let clients = load.start(sandbox.public, 16);
    load.wait_for(200).await;
    // No new connections; the existing ones keep asking.
    load.closed.store(true, Ordering::SeqCst);
    sandbox.terminate();
    all(clients).await;
    let (status, _, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
}

#[tokio::test]
async fn an_upstream_that_hangs_does_not_hold_the_process_beyond_its_limit() {
    let sandbox = SandboxProcess::start(&[], &[("IDGATE__SERVER__DRAIN_TIMEOUT", "1s")]);
    let http = client();
    let url = format!("http://{}/sandbox/aliyun/fault", sandbox.admin);
    http.put(url).body(r#"{"kind": "hang"}"#).send().await.unwrap();
    let ask = http.post(format!("http://{}/v1/verify", sandbox.public)).header("content-type", "application/json");
    let waiting = tokio::spawn(ask.body(person(1).body().to_string()).send());
    let status = format!("http://{}/v1/status", sandbox.admin);
    let began = Instant::now();
    while !http.get(&status).send().await.unwrap().text().await.unwrap().contains("\"flights\":1") {
        assert!(began.elapsed() < PATIENCE, "the call does not begin");
    }
    sandbox.terminate();
    let stopped = Instant::now();
    let answer = waiting.await.unwrap().expect("whoever waits is told, and not cut");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("shutting_down"));
    let (status, _, err) = sandbox.ended();
    assert_eq!(status.code(), Some(1), "a call under way was cut, and that is not success");
    assert!(err.contains("may have been billed"), "{err}");
    assert!(stopped.elapsed() < Duration::from_secs(10), "the call itself would have hung for 15 s");
}
