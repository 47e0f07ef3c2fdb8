//! What operators do leaves a trace in the sealed ledger, and an isolation survives a restart.

use idgate::domain::clock::Clock;
use idgate::storage::ledger::{Entry, Operation};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Folder, eventually};
use crate::support::{Builder, Reply, TestGateway, anybody};

const KEY: &str = "idg_synthetic-operator";

fn with_operator(folder: &Folder) -> Builder {
    use sha2::{Digest, Sha256};
    let hash: String = hex::encode(Sha256::digest(KEY));
    let section = format!("[operators.oncall]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\" }}]\n");
    folder.gateway().chain(&["aliyun", "yunyi"]).over(section)
}

/// A request of the operator on the admin listener.
async fn operate(gateway: &TestGateway, method: &str, path: &str, body: &str) -> Reply {
    let url = format!("http://{}{path}", gateway.admin);
    let request = gateway.http.request(method.parse().unwrap(), url).bearer_auth(KEY);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    Reply::of(request.send().await.unwrap()).await
}

async fn status_of(gateway: &TestGateway, provider: &str) -> serde_json::Value {
    let status = operate(gateway, "GET", "/v1/status", "").await.body;
    status["providers"].as_array().unwrap().iter().find(|one| one["name"] == provider).unwrap().clone()
}

async fn operations(folder: &Folder) -> Vec<Operation> {
    let operation = |entry| match entry {
        Entry::Operation(operation) => Some(operation),
        _ => None,
    };
    folder.entries().await.into_iter().filter_map(operation).collect()
}

#[tokio::test]
async fn operators_leave_a_sealed_trace_with_who_and_why() {
    let folder = Folder::new();
    let gateway = with_operator(&folder).in_file(folder.path().join("idgate.toml")).start().await;
    let pair = anybody();
    let told = gateway.ask(&pair).await.body["verification_id"].as_str().unwrap().to_owned();
    let person = json!({"name": pair.name, "id_number": pair.id_number}).to_string();
    let (one, search) = (format!("/v1/verifications/{told}"), "/v1/verifications/search");
    for (method, path, body, status) in [
        ("POST", "/v1/providers/yunyi/isolate", r#"{"reason": "ticket 4711", "until": "2h"}"#, 204),
        ("POST", "/v1/providers/yunyi/restore", "", 204),
        ("POST", "/v1/providers/yunyi/isolate", r#"{"reason": "about 11010519491231002X"}"#, 400),
        ("POST", "/v1/providers/yunyi/isolate", r#"{"because": "x"}"#, 400),
        ("POST", "/v1/providers/nobody/isolate", "", 404),
        ("POST", "/v1/reload", r#"{"reason": "rotation"}"#, 200),
        ("POST", search, &person, 200),
        ("POST", search, "{}", 400),
        ("GET", &one, "", 200),
        ("GET", "/v1/verifications?provider=aliyun", "", 200),
        ("POST", "/v1/subjects/forget", &person.replace('}', ",\"reason\": \"asked for\"}"), 200),
    ] {
        let reply = operate(&gateway, method, path, body).await;
        assert_eq!(reply.status.as_u16(), status, "{path} {body}: {reply:?}");
    }
    // Whoever is nobody is in the log only, so that strangers cannot fill the ledger.
    let stranger = gateway.http.get(format!("http://{}{one}", gateway.admin)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(gateway.stop().await);
    let all = operations(&folder).await;
    let done: Vec<_> = all.iter().map(|one| format!("{} {}", one.action, one.outcome)).collect();
    assert_eq!(
        done,
        [
            "isolate isolated",
            "restore restored",
            "reload reloaded",
            "search answered",
            "search malformed_request",
            "verification answered",
            "verifications answered"
        ]
    );
    assert!(all.iter().all(|one| one.operator == "oncall"), "{all:?}");
    let (isolated, searched) = (&all[0], &all[3]);
    assert_eq!((isolated.provider.as_deref(), isolated.reason.as_deref()), (Some("yunyi"), Some("ticket 4711")));
    // Counted from when the request came, which is a little earlier.
    let left_ms = isolated.until_ms.unwrap() - isolated.at_ms;
    assert!((7_100_000..=7_200_000).contains(&left_ms), "{left_ms}");
    assert_eq!((all[2].reason.as_deref(), searched.subject.is_some()), (Some("rotation"), true));
    assert_eq!(all[5].verification.map(|id| id.to_string()), Some(told));
    let forgotten = folder.entries().await.into_iter().find_map(|entry| match entry {
        Entry::Forgotten(forgotten) => Some(forgotten),
        _ => None,
    });
    let forgotten = forgotten.unwrap();
    assert_eq!((&*forgotten.operator, forgotten.reason.as_deref()), ("oncall", Some("asked for")));
    assert_eq!(searched.subject.as_ref(), Some(&forgotten.subject), "as a digest");
    folder.assert_sound().await;
}

#[tokio::test]
async fn an_isolation_survives_a_restart_and_ends_when_it_is_to() {
    let folder = Folder::new();
    let ahead = |hours| {
        Clock::new(move || {
            #[expect(clippy::disallowed_methods, reason = "a clock that is ahead by so much")]
            let now = Timestamp::now();
            now + SignedDuration::from_hours(hours)
        })
    };
    let before = with_operator(&folder).start().await;
    for (provider, body) in [("aliyun", r#"{"reason": "ticket 4711", "until": "2h"}"#), ("yunyi", "")] {
        let reply = operate(&before, "POST", &format!("/v1/providers/{provider}/isolate"), body).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-survives-restart")), (204, "true"));
    }
    let restored = operate(&before, "POST", "/v1/providers/yunyi/restore", "").await;
    assert_eq!((restored.status.as_u16(), restored.header("x-survives-restart")), (204, "true"));
    assert!(before.stop().await);
    for (hours, is_isolated) in [(0, true), (1, true), (3, false)] {
        let after = with_operator(&folder).clock(ahead(hours)).start().await;
        let [aliyun, yunyi] = [status_of(&after, "aliyun").await, status_of(&after, "yunyi").await];
        assert_eq!(
            (&aliyun["isolated"], &yunyi["isolated"]),
            (&is_isolated.into(), &false.into()),
            "{hours}: {aliyun}"
        );
        if is_isolated {
            let isolation = &aliyun["isolation"];
            assert_eq!((&isolation["by"], &isolation["reason"]), (&"oncall".into(), &"ticket 4711".into()));
            assert!(isolation["until"].as_str().unwrap().parse::<Timestamp>().is_ok());
        }
        // With a clock that is ahead, aliyun refuses what is signed; what counts is whether it is tried.
        let attempts = after.ask(&anybody()).await.attempts();
        assert_eq!(attempts[0] == "aliyun=skipped_open(no)", is_isolated, "{hours}: {attempts:?}");
        assert!(after.stop().await);
    }
    folder.assert_sound().await;
}

#[tokio::test]
async fn a_reload_because_of_a_changed_file_is_recorded_as_the_files() {
    let folder = Folder::new();
    let path = folder.path().join("idgate.toml");
    let gateway = with_operator(&folder).over("[reload]\npoll = \"20ms\"").in_file(path).start().await;
    gateway.rewrite(|text| text.replace("[reload]", "[purposes.payout]\n[reload]"));
    let recorded = async || operations(&folder).await.into_iter().next();
    eventually("it is recorded", async || recorded().await.is_some()).await;
    let one = recorded().await.unwrap();
    assert_eq!((&*one.action, &*one.outcome, &*one.operator), ("reload", "reloaded", "file"), "{one:?}");
    assert_eq!(one.sections, ["purposes.payout"]);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn without_a_ledger_an_isolation_works_and_says_that_it_does_not_survive() {
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).start().await;
    let reply = operate(&gateway, "POST", "/v1/providers/aliyun/isolate", r#"{"until": "2026-01-01T00:00:00Z"}"#).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, "malformed_request"), "{reply:?}");
    let reply = operate(&gateway, "POST", "/v1/providers/aliyun/isolate", "").await;
    assert_eq!((reply.status.as_u16(), reply.header("x-survives-restart")), (204, "false"));
    assert_eq!(gateway.ask(&anybody()).await.provider(), "yunyi");
}

#[tokio::test]
async fn changes_are_read_back_in_pages_and_by_who_what_and_when_and_name_nobody() {
    let folder = Folder::new();
    let gateway = with_operator(&folder).start().await;
    let pair = anybody();
    assert_eq!(gateway.ask(&pair).await.status, 200);
    let person = json!({"name": pair.name, "id_number": pair.id_number}).to_string();
    let isolate = "/v1/providers/yunyi/isolate";
    for (path, body, status) in [
        (isolate, r#"{"reason": "ticket 4711", "until": "2h"}"#, 204),
        ("/v1/verifications/search", &*person, 200),
        ("/v1/subjects/forget", &person.replace('}', ",\"reason\": \"asked for\"}"), 200),
        ("/v1/log-level", r#"{"level": "debug", "for": "2h"}"#, 400),
        ("/v1/log-level", r#"{"level": "loud", "for": "1m"}"#, 400),
        ("/v1/log-level", r#"{"level": "debug"}"#, 400),
        ("/v1/log-level", r#"{"level": "debug", "for": "1m", "until": "1m"}"#, 400),
    ] {
        let reply = operate(&gateway, "POST", path, body).await;
        assert_eq!(reply.status.as_u16(), status, "{path} {body}: {reply:?}");
    }
    // More than a page.
    for _ in 0..120 {
        assert_eq!(operate(&gateway, "POST", "/v1/providers/yunyi/restore", "").await.status, 204);
    }
    let page = async |query: &str| {
        let reply = operate(&gateway, "GET", &format!("/v1/changes{query}"), "").await;
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        let text = reply.body.to_string();
        assert!(!text.contains(&pair.id_number) && !text.contains(&pair.name) && !text.contains("digest"), "{text}");
        (reply.body["changes"].as_array().unwrap().clone(), reply.body["next_cursor"].as_str().map(str::to_owned))
    };
    let (first, next) = page("").await;
    assert!(first.len() == 100 && first.iter().all(|one| one["action"] == "restore"), "{first:?}");
    let (second, end) = page(&format!("?cursor={}", next.unwrap())).await;
    let done: Vec<_> = second[20..].iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!((done, end), (vec!["forget", "search", "isolate"], None));
    let (by_kind, _) = page("?action=isolate&operator=oncall").await;
    let [isolated] = &by_kind[..] else { panic!("{by_kind:?}") };
    assert_eq!((&isolated["provider"], &isolated["outcome"]), (&json!("yunyi"), &json!("isolated")));
    assert_eq!((&isolated["reason"], &isolated["operator"]), (&json!("ticket 4711"), &json!("oncall")));
    let at = isolated["at"].as_str().unwrap();
    assert!(isolated["until"].as_str().unwrap() > at, "{isolated}");
    assert!(page("?operator=nobody").await.0.is_empty());
    let from_then = page(&format!("?from={at}&action=isolate")).await.0;
    let before_then = page(&format!("?to={at}")).await.0;
    assert_eq!((from_then.len(), before_then.len()), (1, 0));
    for wrong in ["?who=oncall", "?from=yesterday", "?cursor=x", "?action=isolate&action=restore", "?operator=A%20B"] {
        assert_eq!(operate(&gateway, "GET", &format!("/v1/changes{wrong}"), "").await.status, 400, "{wrong}");
    }
    let stranger = gateway.http.get(format!("http://{}/v1/changes", gateway.admin)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(gateway.stop().await);
    folder.assert_sound().await;
}
