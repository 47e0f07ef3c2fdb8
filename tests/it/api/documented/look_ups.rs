//! Look-ups, receipts and the public keys.

use serde_json::Value;

use super::super::{Raw, bearer, client};
use super::Seen;
use crate::ledger::{Folder, connection};
use crate::support::{Pair, TestGateway, anybody};

const ONE: &str = "GET /v1/verifications/{id}";
const PAGES: &str = "GET /v1/verifications";
const SEARCH: &str = "POST /v1/verifications/search";
const RECEIPT: &str = "GET /v1/verifications/{id}/receipt";
const KEYS: &str = "GET /.well-known/jwks.json";
const LOOK_UPS: [&str; 4] = [ONE, PAGES, SEARCH, RECEIPT];

const KEY: &str = "idg_synthetic-one";

/// More attempts than a limit of one needs, even on a slow machine.
const MANY: usize = 1000;

#[tokio::test]
async fn look_ups_and_keys_have_the_codes_and_headers_that_they_can_be_made_to_answer_with() {
    let mut seen = Seen::default();
    let key = bearer(KEY);
    let with_key = [("authorization", key.as_str())];

    // Without a ledger nothing is found.
    let without = TestGateway::new().start().await;
    let long = "a".repeat(20_000);
    for operation in LOOK_UPS {
        assert_eq!(seen.ask(&without, operation, &[("origin", "https://evil.example")]).await.code(), "forbidden");
    }
    assert_eq!(seen.ask(&without, KEYS, &[("x-padding", &long)]).await.code(), "headers_too_large");
    let twice = [("content-type", "text/plain"), ("content-type", "text/html")];
    assert_eq!(seen.ask(&without, KEYS, &twice).await.code(), "malformed_request");
    assert_eq!(seen.ask(&without, KEYS, &[]).await.status, 200);

    let folder = Folder::new();
    let keys = idgate::server::records::receipt::keys::Pair::new().unwrap();
    let receipts = format!("[receipts]\nkey = {{ value = {:?} }}\n", keys.private.expose());
    let limits = "[server]\nmax_in_flight = 1\nbody_timeout = \"200ms\"\n";
    let sections = client("one", KEY, "") + &client("slow", "idg_synthetic-slow", "rate_limit = 1\nburst = 1");
    let without = TestGateway::new().over(sections.clone()).start().await;
    for operation in [ONE, PAGES, SEARCH] {
        assert_eq!(seen.ask(&without, operation, &with_key).await.code(), "not_found", "there is no ledger");
    }
    let gateway = folder.gateway().over(receipts + limits + &sections).start().await;
    let slow = bearer("idg_synthetic-slow");
    for operation in LOOK_UPS {
        assert_eq!(seen.ask(&gateway, operation, &[]).await.code(), "unauthenticated");
        let padded = [with_key[0], ("x-padding", &long)];
        assert_eq!(seen.ask(&gateway, operation, &padded).await.code(), "headers_too_large");
        let refused = seen.ask(&gateway, operation, &[with_key[0], ("accept", "text/html")]).await;
        assert_eq!(refused.code(), "not_acceptable");
        let twice = [with_key[0], ("idempotency-key", "a"), ("idempotency-key", "b")];
        assert_eq!(seen.ask(&gateway, operation, &twice).await.code(), "malformed_request");
        // The limit is one request a second.
        until(&mut seen, &gateway, operation, &slow, "rate_limited").await;
    }
    assert_eq!(seen.ask(&gateway, RECEIPT, &with_key).await.code(), "not_found");
    let mut search =
        async |body: Value| seen.ask_at(&gateway, SEARCH, "", &body.to_string(), &with_key).await.code().to_owned();
    assert_eq!(search(serde_json::json!({"name": "1", "id_number": "11010519491231002X"})).await, "invalid_name");
    assert_eq!(search(serde_json::json!({"name": "张三", "id_number": "1"})).await, "invalid_id_number");
    assert_eq!(search("x".repeat(20_000).into()).await, "payload_too_large");
    let plain = [with_key[0], ("content-type", "text/plain")];
    assert_eq!(seen.ask(&gateway, SEARCH, &plain).await.code(), "unsupported_media_type");
    seen.stall(&gateway, SEARCH, "/v1/verifications/search", &key).await;

    // What was answered; an answer without a verdict has no receipt.
    let answered = anybody();
    let mut receipt = async |pair: &Pair| {
        let reply = gateway.ask_with(pair, &with_key).await;
        let page = seen.ask(&gateway, PAGES, &with_key).await;
        let id = page.body["verifications"][0]["verification_id"].as_str().unwrap_or_else(|| panic!("{page:?}"));
        let path = format!("/v1/verifications/{id}");
        assert_eq!(seen.ask_path(&gateway, ONE, &path, "", &with_key).await.status, 200, "{reply:?}");
        seen.ask_path(&gateway, RECEIPT, &format!("{path}/receipt"), "", &with_key).await
    };
    assert_eq!(receipt(&Pair::new("张三", "1")).await.code(), "receipt_unavailable");
    assert_eq!(receipt(&answered).await.status, 200);
    let found = seen.ask_at(&gateway, SEARCH, "", &answered.body().to_string(), &with_key).await;
    assert_eq!(found.status, 200);

    // The concurrency limit is reached.
    for operation in LOOK_UPS {
        let mut attempts = 0;
        loop {
            let mut reading = Raw::to(&gateway).await;
            reading
                .say(format!(
                    "POST /v1/verifications/search HTTP/1.1\r\nhost: a\r\nauthorization: {key}\r\n\
                     content-type: application/json\r\ncontent-length: 90\r\n\r\n{{"
                ))
                .await;
            if seen.ask(&gateway, operation, &with_key).await.code() == "overloaded" {
                break;
            }
            attempts += 1;
            assert!(attempts < MANY, "{operation}: the only place is never taken");
        }
    }

    // The database cannot be read.
    sqlx::raw_sql("ALTER TABLE entries RENAME TO lost").execute(&mut connection(&folder).await).await.unwrap();
    let id = uuid::Uuid::now_v7().to_string();
    for operation in LOOK_UPS {
        let path = operation.split_once(' ').unwrap().1.replace("{id}", &id);
        let mut attempts = 0;
        // The only place may still be taken.
        while seen.ask_path(&gateway, operation, &path, &answered.body().to_string(), &with_key).await.code()
            != "ledger_unavailable"
        {
            attempts += 1;
            assert!(attempts < MANY, "{operation}");
        }
    }
    for operation in LOOK_UPS.into_iter().chain([KEYS]) {
        seen.assert_all_seen(operation);
    }
}

/// Asks until the answer has this code.
async fn until(seen: &mut Seen, gateway: &TestGateway, operation: &str, authorization: &str, code: &str) {
    for _ in 0..MANY {
        if seen.ask(gateway, operation, &[("authorization", authorization)]).await.code() == code {
            return;
        }
    }
    panic!("{operation} never answers with {code}");
}
