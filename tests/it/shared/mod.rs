//! What replicas share through Redis: real `redis-server`s, on sockets of their own.

mod clients;
mod connect;
mod gateways;
mod late;
mod limits;
mod model;
mod words;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use idgate::domain::clock::{Clock, Ids};
use idgate::domain::subject::{Digest, DigestKey};
use idgate::domain::verdict::{RequestId, Verdict};
use idgate::storage::Remembered;
use idgate::storage::shared::{Event, Lease, Look, Password, Patience, Section, Shared, Tls, Wanted};
use jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::support::eventually;

/// A replica as the rest of the program has it, without the rest of the program.
pub struct Replica {
    pub shared: Shared,
    pub events: mpsc::Receiver<Event>,
    pub registry: Registry,
    _running: AbortOnDropHandle<()>,
}

impl Replica {
    /// Connected to `address`, as soon as somebody answers there.
    pub fn new(address: &str, name: &str) -> Self {
        Self::of(section(address), name)
    }

    pub fn of(section: Section, name: &str) -> Self {
        let config = section.finish(Password::default(), Tls::default(), name.to_owned(), NonZeroU32::new(3).unwrap());
        let (clock, ids, registry) =
            (Clock::new(Timestamp::now), Ids::new(Uuid::new_v4, Uuid::now_v7), Registry::new());
        let shared = Shared::new(config.unwrap(), (&key(), &clock, &ids), &registry).unwrap();
        let (sender, events) = mpsc::channel(1000);
        let running = shared.clone();
        let running = AbortOnDropHandle::new(tokio::spawn(async move { running.run(sender).await }));
        Self { shared, events, registry, _running: running }
    }

    pub async fn up(address: &str, name: &str) -> Self {
        let replica = Self::new(address, name);
        eventually("it is connected", async || replica.shared.is_up()).await;
        replica
    }

    /// The value of a series without its labels' order.
    pub fn counted(&self, family: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().find(|one| one.name() == family).unwrap().get_metric();
        let is = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|one| one.value() == label)
        };
        metrics.iter().filter(is).map(|one| one.get_counter().get_value() + one.get_gauge().get_value()).sum()
    }
}

pub fn section(address: &str) -> Section {
    Section {
        redis: vec![address.to_owned()],
        sentinel: None,
        user: None,
        ca_file: None,
        certificate: None,
        tls: false,
        database: 0,
        namespace: "idgate".to_owned(),
        patience: Duration::from_millis(200),
        takeover: Duration::from_secs(2),
    }
}

pub fn wanted(replica: &Replica, n: u32) -> Wanted {
    Wanted {
        place: replica.shared.place(person(n), "", ""),
        oldest_ms: [Some(0); 3],
        lease: Duration::from_secs(20),
        may_lead: true,
        recalls: true,
        flight: Uuid::from_u128(u128::from(n) << 8),
    }
}

pub async fn look(replica: &Replica, wanted: &Wanted) -> Look {
    replica.shared.look(wanted, &Patience::of(Duration::from_secs(1))).await.unwrap()
}

pub async fn lease(replica: &Replica, wanted: &Wanted) -> Lease {
    match look(replica, wanted).await {
        Look::Mine(lease) => lease,
        other => panic!("{other:?}"),
    }
}

pub fn key() -> DigestKey {
    DigestKey::new([7; 32])
}

pub fn person(n: u32) -> Digest {
    key().digest("test/v1", &[&n.to_be_bytes()])
}

pub fn verdict(verdict: Verdict, at: Timestamp) -> Remembered {
    Remembered {
        verdict,
        provider: Arc::from("aliyun"),
        request_id: RequestId::parse("130A2C10-B9EE-4D84-88E3-5384FF039795"),
        verified_at: Clock::new(Timestamp::now).moment_of(at),
    }
}

/// The series that the alerts of replicas name exist, and the alerts fire as they should.
#[test]
#[ignore = "needs promtool"]
fn the_alerts_of_replicas_are_valid_and_fire_as_tested() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus");
    for task in [["check", "rules", "alerts-replicas.yml"], ["test", "rules", "alerts-replicas.test.yml"]] {
        let run = std::process::Command::new("promtool").args(task).current_dir(&folder).output().unwrap();
        let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(run.status.success(), "promtool {}: {said}", task.join(" "));
    }
}
