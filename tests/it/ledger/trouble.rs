//! Failures of the disk and of the database file under a running gateway.

use std::time::Duration;

use super::{Folder, connection, eventually};
use crate::support::anybody;

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
    let spooled = folder.spooled();
    assert!(told.iter().all(|id| spooled.contains(id)), "what was told is on the disk");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("the spool is emptied", async || folder.spooled().is_empty()).await;
    assert!(gateway.stop().await);
    let kept = format!("{:?}", folder.entries().await);
    assert!(told.iter().all(|id| kept.contains(id)));
    folder.assert_sound().await;
}
