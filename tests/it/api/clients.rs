//! Client keys, their rights and their rate limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use idgate::app::config::Sources;
use idgate::domain::clock::Clock;

use super::{LogFile, assert_problem, bearer, client};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn a_key_opens_only_whole_and_only_as_a_bearer_key() {
    let log = LogFile::new();
    let section = client("payout", "idg_synthetic-key", "");
    let gateway = TestGateway::new().over(section).access_log(log.log.clone()).start().await;
    for wrong in [
        "Bearer idg_synthetic-ke",
        "Bearer idg_synthetic-keyy",
        "Basic idg_synthetic-key",
        "Bearer",
        "idg_synthetic-key",
    ] {
        let reply = gateway.ask_with(&anybody(), &[("authorization", wrong)]).await;
        assert_problem(&reply, 401, "unauthenticated");
    }
    let right = bearer("idg_synthetic-key");
    assert_eq!(gateway.ask_with(&anybody(), &[("authorization", &right)]).await.verdict(), "match");
    let lines = log.lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["client"], &last["key_id"]), (&"payout".into(), &"payout-1".into()));
    assert!(lines[0].get("client").is_none());
    assert!(!log.text().contains("idg_"));
}

#[tokio::test]
async fn a_key_ends_at_its_expiry_and_the_next_one_goes_on() {
    let old = client("payout", "idg_synthetic-old", "").replace(" }]", ", expires = \"2030-01-01T00:00:00Z\" },");
    let new = client("payout", "idg_synthetic-new", "");
    let second = new.split("keys = [").nth(1).unwrap().replace("payout-1", "payout-2");
    let moved = Arc::new(AtomicI64::new(0));
    let shift = Arc::clone(&moved);
    let start: jiff::Timestamp = "2029-12-31T23:59:00Z".parse().unwrap();
    let clock = Clock::new(move || start + jiff::SignedDuration::from_secs(shift.load(Ordering::SeqCst)));
    let gateway = TestGateway::new().over(format!("{}{second}", old.trim_end())).clock(clock).start().await;
    let status = async |key: &str| {
        // Cache only, because no provider would accept a signature from another year.
        let headers = [("authorization", &*bearer(key)), ("cache-control", "only-if-cached")];
        gateway.ask_with(&anybody(), &headers).await.status.as_u16()
    };
    assert_eq!((status("idg_synthetic-old").await, status("idg_synthetic-new").await), (504, 504));
    moved.store(60, Ordering::SeqCst);
    assert_eq!((status("idg_synthetic-old").await, status("idg_synthetic-new").await), (401, 504));
}

#[tokio::test]
async fn a_client_has_the_purposes_of_its_section_and_no_others() {
    let sections = client("one", "idg_synthetic-a", "purposes = [\"withdrawal\", \"default\"]")
        + &client("two", "idg_synthetic-b", "purposes = [\"withdrawal\", \"audit\"]");
    let gateway = TestGateway::new().over(sections).start().await;
    let ask = async |key: &str, purpose: Option<&str>| {
        let mut body = anybody().body();
        if let Some(purpose) = purpose {
            body["purpose"] = purpose.into();
        }
        gateway.post(body.to_string(), &[("authorization", &bearer(key))]).await.status.as_u16()
    };
    assert_eq!(ask("idg_synthetic-a", None).await, 200);
    assert_eq!(ask("idg_synthetic-a", Some("withdrawal")).await, 200);
    assert_eq!(ask("idg_synthetic-a", Some("audit")).await, 403);
    assert_eq!(ask("idg_synthetic-b", Some("audit")).await, 200);
    assert_eq!(ask("idg_synthetic-b", None).await, 403, "it has two, and none of them is the default");
    assert_eq!(gateway.metric("idgate_requests_total", &[("purpose", "audit")]).await, 1.0);
}

#[tokio::test]
async fn one_clients_rate_is_not_anothers() {
    let sections = client("greedy", "idg_synthetic-a", "rate_limit = 1") + &client("modest", "idg_synthetic-b", "");
    let gateway = TestGateway::new().over(sections).start().await;
    let ask = async |key: &str| gateway.ask_with(&anybody(), &[("authorization", &bearer(key))]).await;
    let mut refused = 0;
    for _ in 0..200 {
        refused += u32::from(ask("idg_synthetic-a").await.status == 429);
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0);
    assert_eq!(ask("idg_synthetic-b").await.verdict(), "match");
}

#[test]
fn without_clients_only_a_loopback_address_is_accepted() {
    for (listen, good) in [("127.0.0.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("192.0.2.1:80", false)] {
        let toml = format!(
            "[server]\nlisten = \"{listen}\"\n[providers.yunyi]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
             app_code = {{ value = \"synthetic\" }}\n[chain]\norder = [\"yunyi\"]\n"
        );
        let loaded = Sources::text(&toml).load();
        match loaded {
            Ok(_) => assert!(good, "{listen}"),
            Err(mistakes) => {
                let keys: Vec<_> = mistakes.0.iter().map(|mistake| &*mistake.key).collect();
                assert_eq!((good, &*keys), (false, &["server.listen"][..]), "{mistakes}");
            }
        }
        let with_client = toml + &client("payout", "idg_synthetic-key", "");
        assert!(Sources::text(with_client).load().is_ok(), "{listen} with a client");
    }
}
