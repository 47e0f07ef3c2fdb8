//! The ledger over both engines, and what only PostgreSQL does. The tests with a real PostgreSQL need Debian's
//! `postgresql`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use idgate::domain::clock::{Clock, Ids};
use idgate::domain::subject::{Digest, DigestKey};
use idgate::storage::ledger::{
    Answer, Attempt, Begun, Claim, Config, End, Flight, Forgotten, Ledger, OpenError, Subject,
};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::support::postgres::{Postgres, USER};

mod both;
mod commands;
mod connecting;
mod keys;
mod measured;
mod money;
mod operate;
mod postgres;
mod replicas;
mod starting;

/// What tells the answers of a test apart.
pub const CLIENT: &str = "payout";

/// The spools of the replicas, and the time that they believe in.
pub struct Place {
    folder: PathBuf,
    now_ms: Arc<AtomicI64>,
    /// The folder of PostgreSQL's socket, and the database; `None` for SQLite.
    postgres: Option<(PathBuf, String)>,
}

impl Place {
    pub fn sqlite() -> Self {
        Self::new(None)
    }

    /// A database of its own in a PostgreSQL that many tests share.
    pub fn postgres() -> Self {
        Self::on(Postgres::shared())
    }

    pub fn on(server: &Postgres) -> Self {
        Self::new(Some((server.folder().to_owned(), server.database())))
    }

    fn new(postgres: Option<(PathBuf, String)>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("storage-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test is the outside world")]
        let now_ms = Arc::new(AtomicI64::new(Timestamp::now().as_millisecond()));
        Self { folder, now_ms, postgres }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn database(&self) -> &str {
        &self.postgres.as_ref().unwrap().1
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn later(&self, by: Duration) {
        self.now_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn config(&self, replica: &str) -> Config {
        let mut config = json!({"keep": "400 days"});
        match &self.postgres {
            Some((socket, database)) => {
                config["spool_folder"] = json!(self.folder);
                config["postgres"] = json!({"host": socket, "database": database, "user": USER});
            }
            None => config["file"] = json!(self.folder.join("ledger.db")),
        }
        let mut config: Config = serde_json::from_value(config).unwrap();
        config.replica = replica.to_owned();
        config
    }

    pub async fn open(&self) -> Ledger {
        self.replica("a").await
    }

    pub async fn replica(&self, name: &str) -> Ledger {
        self.try_open(&self.config(name)).await.unwrap()
    }

    pub async fn try_open(&self, config: &Config) -> Result<Ledger, OpenError> {
        let now_ms = Arc::clone(&self.now_ms);
        let clock = Clock::new(move || Timestamp::from_millisecond(now_ms.load(Ordering::Relaxed)).unwrap());
        Ledger::open(config, clock, ids()).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is the outside world")]
pub fn ids() -> Ids {
    Ids::new(Uuid::new_v4, Uuid::now_v7)
}

pub fn digest(text: &str) -> Digest {
    DigestKey::new([7; 32]).digest("person/v1", &[text.as_bytes()])
}

pub fn subject(text: &str) -> Subject {
    Subject::new(&DigestKey::new([7; 32]), &digest(text))
}

/// The ledger adds the time.
pub fn answer(id: Uuid, person: &str, outcome: &str) -> Answer {
    let is_verdict = ["match", "mismatch", "no_record"].contains(&outcome);
    Answer {
        id,
        at_ms: 0,
        client: CLIENT.to_owned(),
        key_id: "p1".to_owned(),
        purpose: "default".to_owned(),
        reference: Some("r-1".to_owned()),
        subject: Some(subject(person)),
        outcome: outcome.to_owned(),
        source: is_verdict.then(|| "provider".to_owned()),
        provider: is_verdict.then(|| "one".to_owned()),
        provider_request_id: None,
        verified_at_ms: is_verdict.then_some(0),
        flight: None,
        attempts: Vec::<Attempt>::new(),
        configuration: "c".to_owned(),
        receipt: None,
        claim: None,
    }
}

pub fn end(billed: &str, reason: Option<&str>) -> End {
    End {
        outcome: if billed == "yes" { "verdict" } else { "refused" }.to_owned(),
        reason: reason.map(str::to_owned),
        verdict: (billed == "yes").then(|| "match".to_owned()),
        provider_request_id: Some("req-1".to_owned()),
        billed: billed.to_owned(),
        price_micro_yuan: if billed == "yes" { 300_000 } else { 0 },
        duration_ms: 12,
        late: false,
    }
}

pub fn begun(person: &str) -> impl FnOnce(Uuid, i64) -> Begun + use<> {
    let subject = subject(person);
    move |flight, at_ms| Begun {
        flight,
        at_ms,
        id: ids().ordered(),
        client: CLIENT.to_owned(),
        key_id: "p1".to_owned(),
        purpose: "default".to_owned(),
        reference: None,
        subject,
        configuration: "c".to_owned(),
    }
}

/// Asks about a person, with one call, and returns the id of the answer.
pub async fn ask(ledger: &Ledger, person: &str) -> (Uuid, Flight) {
    let (id, begun) = (ids().ordered(), begun(person));
    let flight = ledger.begin(|flight, at_ms| Begun { id, ..begun(flight, at_ms) }).unwrap();
    flight.call("one", "one.example", 300_000).await.unwrap().ended(|| end("yes", None));
    let answer = Answer { flight: flight.id(), ..answer(id, person, "match") };
    ledger.write(answer.borrowed(), flight.clone()).await.unwrap();
    (id, flight)
}

pub fn claim(key: &str, person: &str) -> impl FnOnce(Uuid, i64) -> Claim + use<> {
    let (key, body, subject) = (digest(key).to_hex(), digest("body").to_hex(), subject(person));
    move |id, at_ms| Claim { id, at_ms, client: CLIENT.to_owned(), outcome: "claimed".to_owned(), key, body, subject }
}

pub fn forgotten(person: &str) -> impl FnOnce(Uuid, i64) -> Forgotten + use<> {
    let subject = subject(person);
    move |id, at_ms| Forgotten {
        id,
        at_ms,
        client: String::new(),
        outcome: "forgotten".to_owned(),
        subject,
        operator: "oncall".to_owned(),
        reason: None,
    }
}
