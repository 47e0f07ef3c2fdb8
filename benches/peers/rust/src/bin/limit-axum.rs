//! The limit of a hit: axum and serde, a question in, a fixed answer out, no logic.
//!
//!   limit-axum --listen ADDRESS:PORT

use std::hint::black_box;

use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use idgate_peers::{address, listen, serve};

#[derive(serde::Deserialize)]
struct Question {
    name: String,
    id_number: String,
}

/// As large as idgate's answer.
#[derive(Clone, Copy, serde::Serialize)]
struct Answer {
    request_id: &'static str,
    outcome: &'static str,
    matched: bool,
    code: &'static str,
    message: &'static str,
    provider: &'static str,
    provider_request_id: &'static str,
    cached: bool,
    degraded: bool,
    checked_at: &'static str,
    expires_at: &'static str,
    elapsed_us: u32,
}

const ANSWER: Answer = Answer {
    request_id: "0197c2f1a6b47d3e9b1f5c2a77d0e913",
    outcome: "match",
    matched: true,
    code: "1",
    message: "name and id number agree",
    provider: "aliyun",
    provider_request_id: "130A2C10-B9EE-4D84-88E3-5384FF039795",
    cached: true,
    degraded: false,
    checked_at: "2026-11-22T02:10:11.123Z",
    expires_at: "2026-11-23T02:10:11.123Z",
    elapsed_us: 42,
};

async fn verify(Json(question): Json<Question>) -> Json<Answer> {
    black_box((&question.name, &question.id_number));
    Json(black_box(ANSWER))
}

fn main() {
    let address = address("listen");
    serve(async move {
        let listener = listen(address).tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let _ = axum::serve(listener, Router::new().route("/v1/verify", post(verify))).await;
    });
}
