//! Which client finds which verifications.

use serde_json::{Value, json};

use super::{Folder, client, eventually, get, get_as_operator};
use crate::support::{Pair, Reply, TestGateway, anybody};

async fn two_clients(folder: &Folder) -> TestGateway {
    let clients = client("one", "idg_synthetic-one") + &client("two", "idg_synthetic-two");
    folder.gateway().chain(&["aliyun"]).over(clients).start().await
}

async fn ask(gateway: &TestGateway, key: &str, pair: &Pair, reference: &str) -> String {
    let mut body = pair.body();
    body["reference"] = reference.into();
    let reply = gateway.post(body.to_string(), &[("authorization", &format!("Bearer {key}"))]).await;
    reply.body["verification_id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

async fn search(gateway: &TestGateway, key: &str, body: Value) -> Reply {
    let url = format!("http://{}/v1/verifications/search", gateway.public);
    let request = gateway.http.post(url).bearer_auth(key).header("content-type", "application/json");
    Reply::of(request.body(body.to_string()).send().await.unwrap()).await
}

fn ids(page: &Reply) -> Vec<&str> {
    let all = page.body["verifications"].as_array().unwrap_or_else(|| panic!("{page:?}"));
    all.iter().map(|one| one["verification_id"].as_str().unwrap()).collect()
}

const ONE: &str = "idg_synthetic-one";
const TWO: &str = "idg_synthetic-two";

#[tokio::test]
async fn an_answer_is_its_clients_own_and_a_foreign_one_looks_like_none() {
    let folder = Folder::new();
    let gateway = two_clients(&folder).await;
    let id = ask(&gateway, ONE, &anybody(), "payout-1").await;
    let path = format!("/v1/verifications/{id}");
    let own = get(&gateway, &path, ONE).await;
    let [verdict, client, reference, billed] =
        [&own.body["verdict"], &own.body["client"], &own.body["reference"], &own.body["attempts"][0]["billed"]];
    assert_eq!(
        (verdict, client, reference, billed),
        (&"match".into(), &"one".into(), &"payout-1".into(), &"yes".into())
    );
    assert!(own.body.get("calls").is_none() && !own.body.to_string().contains("digest"), "{own:?}");
    let (foreign, unknown) = (get(&gateway, &path, TWO).await, format!("/v1/verifications/{}", uuid::Uuid::now_v7()));
    let unknown = get(&gateway, &unknown, TWO).await;
    let without_id = |reply: &Reply| {
        let mut body = reply.body.clone();
        body["request_id"] = Value::Null;
        (reply.status.as_u16(), body)
    };
    assert_eq!(without_id(&foreign), without_id(&unknown));
    assert_eq!((foreign.status.as_u16(), foreign.code()), (404, "not_found"));
    assert_eq!(get(&gateway, &path, "idg_other").await.code(), "unauthenticated");
    assert_eq!(get(&gateway, "/v1/verifications/x", ONE).await.code(), "not_found");
    let seen = get_as_operator(&gateway, &path).await;
    assert_eq!(seen.body["calls"][0]["outcome"], "verdict");
    assert!(seen.body["calls"][0]["price_micro_yuan"].as_u64().unwrap() > 0);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn pages_follow_each_other_whatever_is_written_meanwhile() {
    let folder = Folder::new();
    let gateway = two_clients(&folder).await;
    let pair = anybody();
    let mut asked = Vec::new();
    for n in 0..120 {
        asked.push(ask(&gateway, ONE, &pair, &format!("r-{}", n % 2)).await);
        if n % 10 == 0 {
            ask(&gateway, TWO, &pair, "r-0").await;
        }
    }
    asked.reverse();
    // Cached answers are written asynchronously.
    eventually("all are written", async || {
        get_as_operator(&gateway, &format!("/v1/verifications/{}", asked[0])).await.status == 200
    })
    .await;
    let first = get(&gateway, "/v1/verifications", ONE).await;
    assert_eq!(ids(&first), asked[..100]);
    ask(&gateway, ONE, &anybody(), "later").await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let second = get(&gateway, &format!("/v1/verifications?cursor={cursor}"), ONE).await;
    assert_eq!(ids(&second), asked[100..]);
    assert!(second.body.get("next_cursor").is_none());
    let odd = get(&gateway, "/v1/verifications?reference=r-1&verdict=match&provider=aliyun", ONE).await;
    assert_eq!(ids(&odd), asked.iter().step_by(2).collect::<Vec<_>>());
    assert_eq!(ids(&get(&gateway, "/v1/verifications?reference=r-0", TWO).await).len(), 12);
    assert_eq!(ids(&get_as_operator(&gateway, "/v1/verifications?reference=r-0").await).len(), 72);
    for nothing in ["verdict=mismatch", "provider=yunyi", "from=2100-01-01T00:00:00Z", "to=2026-01-01T00:00:00Z"] {
        assert!(ids(&get(&gateway, &format!("/v1/verifications?{nothing}"), ONE).await).is_empty(), "{nothing}");
    }
    for wrong in ["x=1", "from=today", "verdict=perhaps", "cursor=zz", "reference=", "reference=a&reference=b"] {
        assert_eq!(
            get(&gateway, &format!("/v1/verifications?{wrong}"), ONE).await.code(),
            "malformed_request",
            "{wrong}"
        );
    }
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_lookup_for_a_provider_that_nobody_knows_is_refused_by_name() {
    let folder = Folder::new();
    let gateway = two_clients(&folder).await;
    for reply in [
        get(&gateway, "/v1/verifications?provider=zzz", ONE).await,
        get_as_operator(&gateway, "/v1/verifications?provider=zzz").await,
    ] {
        let error = &reply.body["errors"][0];
        assert_eq!((reply.code(), &error["pointer"]), ("malformed_request", &"/provider".into()), "{reply:?}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains("aliyun") && !detail.contains("zzz"), "{detail}");
    }
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_persons_history_is_found_by_name_and_number_in_the_body() {
    let folder = Folder::new();
    let gateway = two_clients(&folder).await;
    let (pair, other) = (anybody(), anybody());
    let id = ask(&gateway, ONE, &pair, "r").await;
    ask(&gateway, ONE, &other, "r").await;
    let found = search(&gateway, ONE, pair.body()).await;
    assert_eq!(ids(&found), [&*id]);
    assert!(ids(&search(&gateway, TWO, pair.body()).await).is_empty());
    let wrong = json!({"name": pair.name, "id_number": "110105194912310021"});
    assert_eq!(search(&gateway, ONE, wrong).await.code(), "invalid_id_number");
    let more = json!({"name": pair.name, "id_number": pair.id_number, "reference": "r"});
    assert_eq!(search(&gateway, ONE, more).await.code(), "malformed_request");
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn without_a_ledger_nothing_is_found_and_the_answer_says_why() {
    let gateway = TestGateway::new().start().await;
    let reply = get(&gateway, "/v1/verifications", "none").await;
    assert_eq!((reply.status.as_u16(), &reply.body["errors"][0]["reason"]), (404, &"no_ledger".into()));
    assert!(gateway.stop().await);
}
