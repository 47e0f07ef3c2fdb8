//! Checks that `openapi.yaml` lists exactly the codes and headers that each operation can be made to answer with, by
//! requests over real sockets. (`support` also checks every answer of `POST /v1/verify` in any test against it.)

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;

use super::Raw;
use crate::support::documented::{OPERATIONS, assert_documented};
use crate::support::{Reply, TestGateway, anybody};

mod look_ups;
mod operators;
mod questions;

/// What was seen of each status of each operation, keyed by `METHOD route status`.
#[derive(Default)]
struct Seen(BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>);

impl Seen {
    /// Sends a request with the body of somebody, if it is a POST without a body of its own.
    async fn ask(&mut self, gateway: &TestGateway, operation: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask_at(gateway, operation, "", &anybody().body().to_string(), headers).await
    }

    async fn ask_at(
        &mut self,
        gateway: &TestGateway,
        operation: &str,
        query: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let (_, route) = operation.split_once(' ').unwrap();
        let path = format!("{}{query}", route.replace("{id}", "x"));
        self.ask_path(gateway, operation, &path, body, headers).await
    }

    async fn ask_path(
        &mut self,
        gateway: &TestGateway,
        operation: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let (method, _) = operation.split_once(' ').unwrap();
        let address = if operators::ALL.contains(&operation) { gateway.admin } else { gateway.public };
        let mut request = gateway.http.request(method.parse().unwrap(), format!("http://{address}{path}"));
        if method == "POST" {
            request = request.body(body.to_owned());
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        self.note(operation, &reply);
        reply
    }

    /// Sends a head that announces more of a body than comes.
    async fn stall(&mut self, gateway: &TestGateway, operation: &str, path: &str, authorization: &str) {
        let address = if operators::ALL.contains(&operation) { gateway.admin } else { gateway.public };
        let mut raw = Raw(tokio::net::TcpStream::connect(address).await.unwrap());
        raw.say(format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: {authorization}\r\n\
             content-type: application/json\r\ncontent-length: 90\r\n\r\n{{"
        ))
        .await;
        let reply = parsed(&raw.rest().await);
        assert_eq!(reply.code(), "request_timeout");
        self.note(operation, &reply);
    }

    fn note(&mut self, operation: &str, reply: &Reply) {
        assert_documented(operation, reply);
        let (codes, headers) = self.0.entry(format!("{operation} {}", reply.status.as_u16())).or_default();
        // The document of an answer without a verdict has a code, too.
        if reply.status.as_u16() >= 400 && !reply.code().is_empty() {
            codes.insert(reply.code().to_owned());
        }
        headers.extend(reply.headers.keys().map(ToString::to_string));
    }

    /// Checks that everything documented for an operation was seen, but for `internal`: a defect is possible anywhere, and
    /// hard to provoke.
    fn assert_all_seen(&self, operation: &str) {
        let of_it = OPERATIONS.iter().filter(|(key, _)| key.rsplit_once(' ').unwrap().0 == operation);
        for (key, documented) in
            of_it.filter(|(key, documented)| self.0.contains_key(*key) || !documented.codes.iter().eq(["internal"]))
        {
            let (codes, headers) = self.0.get(key).unwrap_or_else(|| panic!("{key} is promised, and never given"));
            assert_eq!(*codes, documented.codes, "{key}");
            let never: Vec<_> = documented.headers.difference(headers).collect();
            assert!(never.is_empty(), "{key} promises headers that it never gives: {never:?}");
        }
    }
}

/// An answer as it was read from a socket.
fn parsed(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    };
    Reply {
        status: status.parse::<StatusCode>().unwrap(),
        headers: lines.map(header).collect::<HeaderMap>(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}
