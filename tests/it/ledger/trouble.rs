//! Failures of the disk and of the database file under a running gateway.

use std::time::Duration;

use http::StatusCode;
use memchr::memmem;

use super::{Folder, connection, eventually, get, get_as_operator};
use crate::server::console::{Browser, ON};
use crate::support::{Reply, anybody};

#[tokio::test]
async fn a_database_that_another_process_locks_for_five_seconds_costs_nobody_an_answer() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    let mut other = connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    let mut told = Vec::new();
    while tokio::time::Instant::now() < until {
        let reply = gateway.ask(&anybody()).await;
        told.push(reply.body["verification_id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned());
    }
    assert_eq!(gateway.metric("idgate_ledger_available", &[]).await, 1.0);
    assert!(gateway.metric("idgate_ledger_spooled_total", &[]).await >= told.len() as f64);
    let is_in = |text: &str| told.iter().all(|id| memmem::find(text.as_bytes(), id.as_bytes()).is_some());
    assert!(is_in(&folder.spooled()), "what was told is on the disk");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("the spool is emptied", async || folder.spooled().is_empty()).await;
    assert!(gateway.stop().await);
    assert!(is_in(&format!("{:?}", folder.entries().await)));
    folder.assert_sound().await;
}

#[tokio::test]
async fn the_record_does_not_lie_while_its_database_is_locked() {
    let folder = Folder::new();
    let gateway = folder.gateway().over(ON).start().await;
    let moved = gateway.ask(&anybody()).await;
    let moved = format!("/v1/verifications/{}", moved.body["verification_id"].as_str().unwrap());
    assert_eq!(get(&gateway, &moved, "none").await.status, 200);
    let mut other = connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let pair = anybody();
    let told = gateway.ask(&pair).await;
    let told = format!("/v1/verifications/{}", told.body["verification_id"].as_str().unwrap());
    let [own, seen, old] = [
        get(&gateway, &told, "none").await,
        get_as_operator(&gateway, &told).await,
        get(&gateway, &moved, "none").await,
    ];
    assert_eq!((own.status.as_u16(), &own.body["verdict"]), (200, &"match".into()), "{own:?}");
    assert_eq!(seen.body["calls"][0]["outcome"], "verdict", "{seen:?}");
    assert_eq!(old.status, 200, "{old:?}");
    let page = format!("/console/answers/{}", told.rsplit('/').next().unwrap());
    let shown = Browser::signed_in(&gateway, "").await.get(&gateway, &page).await;
    assert!(shown.status == StatusCode::OK && !shown.text.contains("--expect"), "{} {}", shown.status, shown.text);
    let nobody = format!("/v1/verifications/{}", uuid::Uuid::now_v7());
    assert_eq!(get(&gateway, &nobody, "none").await.code(), "not_found");
    let search = async || {
        let url = format!("http://{}/v1/verifications/search", gateway.public);
        let request = gateway.http.post(url).header("content-type", "application/json").body(pair.body().to_string());
        Reply::of(request.send().await.unwrap()).await
    };
    let list = "/v1/verifications";
    for page in [get(&gateway, list, "none").await, get_as_operator(&gateway, list).await, search().await] {
        assert_eq!((page.status.as_u16(), page.code()), (503, "ledger_unavailable"), "{page:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("the page is complete", async || {
        let page = get(&gateway, list, "none").await;
        page.status == 200 && page.body["verifications"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    assert_eq!(search().await.body["verifications"].as_array().unwrap().len(), 1);
    assert!(gateway.stop().await);
}
