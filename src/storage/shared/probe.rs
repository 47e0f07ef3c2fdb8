//! Looks at Redis for `idgate check --connect`.

use std::time::Duration;

use jiff::Timestamp;
use redis::InfoDict;
use tokio::time::timeout;

use super::config::Config;
use super::link::{client, reason};

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it must be put right.
    pub is_mistake: bool,
    pub text: String,
}

/// Connects as the gateway would. `now` is our wall clock.
pub async fn probe(config: &Config, now: impl Fn() -> Timestamp) -> Vec<Finding> {
    let looked = timeout(WITHIN, look(config, now)).await;
    let mistake = |text: String| vec![Finding { is_mistake: true, text }];
    match looked {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => mistake(format!("cannot be used: {}", reason(&error))),
        Err(_) => mistake("does not answer within 5 seconds".to_owned()),
    }
}

async fn look(config: &Config, now: impl Fn() -> Timestamp) -> redis::RedisResult<Vec<Finding>> {
    let mut connection = client(config).await?.get_multiplexed_async_connection().await?;
    let mut findings = Vec::new();
    let mut find = |is_mistake, text: String| findings.push(Finding { is_mistake, text });
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    let is_primary = matches!(role.first(), Some(redis::Value::BulkString(role)) if role == b"master");
    find(!is_primary, if is_primary { "is the primary" } else { "is a replica, which takes no writes" }.to_owned());
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
    let apart = (now().as_microsecond() - (seconds * 1_000_000 + micros)).abs() / 1000;
    find(apart > 1000, format!("its clock is {apart} ms from ours"));
    // Both need rights that a user of ours may lack.
    if let Ok(info) = redis::cmd("INFO").query_async::<InfoDict>(&mut connection).await {
        let text = |key: &str| info.get::<String>(key).unwrap_or_default();
        let version = text("redis_version");
        let is_old =
            version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 7);
        find(is_old, format!("version {version}{}", if is_old { "; 7.0 or later is needed" } else { "" }));
        let policy = text("maxmemory_policy");
        let is_wrong = !policy.starts_with("volatile") && policy != "noeviction";
        let advice = if is_wrong { "; limits would be evicted, write volatile-lru" } else { "" };
        find(is_wrong, format!("maxmemory-policy {policy}{advice}"));
    }
    Ok(findings)
}
