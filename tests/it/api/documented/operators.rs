//! The operations of the admin listener.

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use super::super::bearer;
use super::Seen;
use crate::ledger::Folder;
use crate::support::{anybody, eventually};

const ISOLATE: &str = "POST /v1/providers/{provider}/isolate";
const RESTORE: &str = "POST /v1/providers/{provider}/restore";
const RELOAD: &str = "POST /v1/reload";
const FORGET: &str = "POST /v1/subjects/forget";
const OPEN: [&str; 2] = ["GET /livez", "GET /readyz"];
pub const ALL: [&str; 8] =
    ["GET /livez", "GET /readyz", "GET /metrics", "GET /v1/status", ISOLATE, RESTORE, RELOAD, FORGET];

const KEY: &str = "idg_synthetic-operator";

/// The path of an operation, about this provider.
fn path(operation: &str, provider: &str) -> String {
    operation.split_once(' ').unwrap().1.replace("{provider}", provider)
}

#[tokio::test]
async fn operations_have_the_codes_and_headers_that_they_can_be_made_to_answer_with() {
    let mut seen = Seen::default();
    let folder = Folder::new();
    let hash = hex::encode(Sha256::digest(KEY));
    let sections = format!("[operators.oncall]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\" }}]\n")
        + "[server]\nbody_timeout = \"200ms\"\ndrain_timeout = \"30s\"\n";
    let file = folder.path().join("idgate.toml");
    let gateway = folder.gateway().chain(&["aliyun"]).over(sections).in_file(&file).start().await;
    let (key, long) = (bearer(KEY), "a".repeat(20_000));
    let with_key = ("authorization", key.as_str());
    let person = anybody().body().to_string();

    for operation in ALL {
        let path = path(operation, "aliyun");
        let body = if operation == FORGET { &*person } else { "" };
        let mut ask = async |headers: &[(&str, &str)]| seen.ask_path(&gateway, operation, &path, body, headers).await;
        assert!(ask(&[with_key]).await.status.is_success(), "{operation}");
        assert_eq!(ask(&[with_key, ("x-padding", &long)]).await.code(), "headers_too_large");
        assert_eq!(
            ask(&[with_key, ("idempotency-key", "a"), ("idempotency-key", "b")]).await.code(),
            "malformed_request"
        );
        if !OPEN.contains(&operation) {
            assert_eq!(ask(&[]).await.code(), "unauthenticated");
            assert_eq!(ask(&[with_key, ("origin", "https://evil.example")]).await.code(), "forbidden");
        }
    }
    for operation in [ISOLATE, RESTORE] {
        let unknown = seen.ask_path(&gateway, operation, &path(operation, "nobody"), "", &[with_key]).await;
        assert_eq!(unknown.code(), "not_found");
    }
    for operation in [ISOLATE, RESTORE, RELOAD, FORGET] {
        let path = path(operation, "aliyun");
        let large = seen.ask_path(&gateway, operation, &path, &long, &[with_key]).await;
        assert_eq!(large.code(), "payload_too_large");
        let plain = [with_key, ("content-type", "text/plain")];
        assert_eq!(seen.ask_path(&gateway, operation, &path, &person, &plain).await.code(), "unsupported_media_type");
    }
    // All at once, because some of them wait for five seconds.
    let (asked, authorization) = (&gateway, &key);
    let stalled = [ISOLATE, RESTORE, RELOAD, FORGET].map(|operation| async move {
        let mut seen = Seen::default();
        seen.stall(asked, operation, &path(operation, "aliyun"), authorization).await;
        seen
    });
    join_all(stalled).await.into_iter().for_each(|more| seen.0.extend(more.0));

    for (name, id_number, code) in [("1", "11010519491231002X", "invalid_name"), ("张三", "1", "invalid_id_number")] {
        let body = serde_json::json!({"name": name, "id_number": id_number}).to_string();
        assert_eq!(seen.ask_path(&gateway, FORGET, &path(FORGET, ""), &body, &[with_key]).await.code(), code);
    }
    let right = std::fs::read_to_string(&file).unwrap();
    gateway.rewrite(|text| text + "\n[nonsense]\n");
    assert_eq!(
        seen.ask_path(&gateway, RELOAD, &path(RELOAD, ""), "", &[with_key]).await.code(),
        "invalid_configuration"
    );
    gateway.rewrite(|_| right);

    // Without its file the ledger takes nothing more.
    std::fs::rename(folder.file(), folder.path().join("away.db")).unwrap();
    let mut attempts = 0;
    while seen.ask_path(&gateway, FORGET, &path(FORGET, ""), &person, &[with_key]).await.code() != "ledger_unavailable"
    {
        attempts += 1;
        assert!(attempts < 10_000, "the file is not missed");
    }
    std::fs::rename(folder.path().join("away.db"), folder.file()).unwrap();

    // A call that hangs keeps the process, while it goes down.
    eventually("paid calls are made again", async || gateway.ask(&anybody()).await.status == 200).await;
    let before = gateway.sandbox.calls("aliyun");
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let hanging = async { gateway.ask(&anybody()).await };
    let going_down = async {
        eventually("the call is under way", async || gateway.sandbox.calls("aliyun") > before).await;
        gateway.begin_stop();
        let mut attempts = 0;
        while seen.ask_path(&gateway, "GET /readyz", "/readyz", "", &[]).await.status != 503 {
            attempts += 1;
            assert!(attempts < 10_000, "it is ready for ever");
        }
        let late = seen.ask_path(&gateway, RELOAD, &path(RELOAD, ""), "", &[with_key]).await;
        assert_eq!(late.code(), "shutting_down");
    };
    tokio::select! { reply = hanging => panic!("it hangs: {reply:?}"), () = going_down => {} }
    for operation in ALL {
        seen.assert_all_seen(operation);
    }
}
