//! Checks that `openapi.yaml` lists exactly the codes each operation can answer with. (`support` also checks every
//! answer of `POST /v1/verify` in any test against it.)

use std::collections::{BTreeMap, BTreeSet};

use idgate::server::http::code::Code;
use serde_json::Value;

use super::{Raw, bearer, client};
use crate::ledger::{Folder, connection};
use crate::support::documented::{assert_documented, codes};
use crate::support::{Reply, TestGateway, anybody, eventually};

const ONE: &str = "GET /v1/verifications/{id}";
const PAGES: &str = "GET /v1/verifications";
const SEARCH: &str = "POST /v1/verifications/search";
const RECEIPT: &str = "GET /v1/verifications/{id}/receipt";
const KEYS: &str = "GET /.well-known/jwks.json";
const LOOK_UPS: [&str; 4] = [ONE, PAGES, SEARCH, RECEIPT];

const KEY: &str = "idg_synthetic-one";

/// The codes seen for each operation.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, BTreeSet<String>>);

impl Seen {
    async fn ask(&mut self, gateway: &TestGateway, operation: &'static str, headers: &[(&str, &str)]) -> Reply {
        self.ask_at(gateway, operation, "", &anybody().body(), headers).await
    }

    async fn ask_at(
        &mut self,
        gateway: &TestGateway,
        operation: &'static str,
        query: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Reply {
        let (method, route) = operation.split_once(' ').unwrap();
        let url = format!("http://{}{}{query}", gateway.public, route.replace("{id}", "x"));
        let mut request = gateway.http.request(method.parse().unwrap(), url);
        if method == "POST" && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        if method == "POST" {
            request = request.body(body.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_documented(operation, &reply);
        self.note(operation, reply.code());
        reply
    }

    fn note(&mut self, operation: &'static str, code: &str) {
        if !code.is_empty() {
            self.0.entry(operation).or_default().insert(code.to_owned());
        }
    }
}

#[test]
fn a_question_has_all_codes_but_those_of_other_routes() {
    let of_others = [Code::NotFound, Code::MethodNotAllowed, Code::ReceiptUnavailable, Code::InvalidConfiguration];
    let possible =
        Code::ALL.iter().copied().filter(|code| !of_others.contains(code)).map(|code| code.as_str().to_owned());
    assert_eq!(codes("POST /v1/verify"), possible.collect());
}

#[tokio::test]
async fn look_ups_and_keys_have_the_codes_that_they_can_be_made_to_answer_with() {
    let mut seen = Seen::default();
    let key = bearer(KEY);
    let with_key = [("authorization", key.as_str())];
    let and = |name: &'static str, value: &'static str| [("authorization", key.clone()), (name, value.to_owned())];

    // Without a ledger nothing is found.
    let without = TestGateway::new().start().await;
    for operation in [ONE, PAGES, SEARCH] {
        assert_eq!(seen.ask(&without, operation, &[]).await.code(), "not_found");
    }
    let long = "a".repeat(20_000);
    for operation in LOOK_UPS.into_iter().chain([KEYS]) {
        assert_eq!(seen.ask(&without, operation, &[("x-padding", &long)]).await.code(), "headers_too_large");
    }
    for operation in LOOK_UPS {
        assert_eq!(seen.ask(&without, operation, &[("origin", "https://evil.example")]).await.code(), "forbidden");
    }
    assert_eq!(seen.ask(&without, KEYS, &[]).await.status, 200);

    let folder = Folder::new();
    let keys = idgate::server::records::receipt::keys::Pair::new().unwrap();
    let receipts = format!("[receipts]\nkey = {{ value = {:?} }}\n", keys.private.expose());
    let limits = "[server]\nmax_in_flight = 1\nbody_timeout = \"200ms\"\n";
    let sections = client("one", KEY, "") + &client("slow", "idg_synthetic-slow", "rate_limit = 1\nburst = 1");
    let gateway = folder.gateway().over(receipts + limits + &sections).start().await;
    let slow = bearer("idg_synthetic-slow");
    for operation in LOOK_UPS {
        seen.ask(&gateway, operation, &[]).await;
        for (name, value) in &and("accept", "text/html")[1..] {
            seen.ask(&gateway, operation, &[with_key[0], (name, value)]).await;
        }
        // The limit is one request a second, so some of three concurrent requests are refused even on a slow machine.
        eventually("the client is over its rate", async || {
            Seen::default().ask(&gateway, operation, &[("authorization", &slow)]).await.code() == "rate_limited"
        })
        .await;
        seen.note(operation, "rate_limited");
    }
    seen.ask(&gateway, RECEIPT, &with_key).await;
    for operation in [PAGES, SEARCH] {
        seen.ask_at(&gateway, operation, "?x=1", &anybody().body(), &with_key).await;
    }
    let mut search = async |body: Value| seen.ask_at(&gateway, SEARCH, "", &body, &with_key).await.code().to_owned();
    assert_eq!(search(serde_json::json!({"name": "1", "id_number": "11010519491231002X"})).await, "invalid_name");
    assert_eq!(search(serde_json::json!({"name": "张三", "id_number": "1"})).await, "invalid_id_number");
    assert_eq!(search("x".repeat(20_000).into()).await, "payload_too_large");
    let plain = [with_key[0], ("content-type", "text/plain")];
    assert_eq!(seen.ask(&gateway, SEARCH, &plain).await.code(), "unsupported_media_type");
    let mut raw = Raw::to(&gateway).await;
    raw.say(format!(
        "POST /v1/verifications/search HTTP/1.1\r\nhost: a\r\nauthorization: {key}\r\ncontent-type: application/json\r\n\
         content-length: 90\r\n\r\n{{"
    ))
    .await;
    assert!(raw.rest().await.contains("\"code\":\"request_timeout\""));
    seen.note(SEARCH, "request_timeout");

    // An answer without a verdict has no receipt.
    let refused = gateway.ask_with(&crate::support::Pair::new("张三", "1"), &with_key).await;
    assert_eq!(refused.code(), "invalid_id_number");
    let page = seen.ask(&gateway, PAGES, &with_key).await;
    let id = page.body["verifications"][0]["verification_id"].as_str().unwrap().to_owned();
    let url = format!("http://{}/v1/verifications/{id}/receipt", gateway.public);
    let reply = Reply::of(gateway.http.get(url).bearer_auth(KEY).send().await.unwrap()).await;
    assert_documented(RECEIPT, &reply);
    seen.note(RECEIPT, reply.code());

    // The concurrency limit is reached.
    for operation in LOOK_UPS {
        eventually("the only place is taken", async || {
            let mut reading = Raw::to(&gateway).await;
            reading
                .say(format!(
                    "POST /v1/verifications/search HTTP/1.1\r\nhost: a\r\nauthorization: {key}\r\n\
                     content-type: application/json\r\ncontent-length: 90\r\n\r\n{{"
                ))
                .await;
            Seen::default().ask(&gateway, operation, &with_key).await.code() == "overloaded"
        })
        .await;
        seen.note(operation, "overloaded");
    }

    // The database cannot be read.
    sqlx::raw_sql("ALTER TABLE entries RENAME TO lost").execute(&mut connection(&folder).await).await.unwrap();
    let id = uuid::Uuid::now_v7().to_string();
    for operation in LOOK_UPS {
        let (_, route) = operation.split_once(' ').unwrap();
        let url = format!("http://{}{}", gateway.public, route.replace("{id}", &id));
        let request = match operation {
            SEARCH => {
                gateway.http.post(url).header("content-type", "application/json").body(anybody().body().to_string())
            }
            _ => gateway.http.get(url),
        };
        let reply = Reply::of(request.bearer_auth(KEY).send().await.unwrap()).await;
        assert_documented(operation, &reply);
        seen.note(operation, reply.code());
    }

    for operation in LOOK_UPS.into_iter().chain([KEYS]) {
        let mut documented = codes(operation);
        assert!(documented.remove("internal"), "a defect is possible anywhere, and hard to provoke");
        assert_eq!(seen.0[operation], documented, "{operation}");
    }
}
