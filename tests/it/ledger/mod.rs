//! The ledger of a running gateway: its content, when it is written, who may look it up, and what happens when it
//! cannot be written.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use idgate::providers::{DRIVERS, Driver};
use idgate::storage::ledger::{Entry, Reader};
use sha2::{Digest, Sha256};

use crate::support::{Builder, Reply, TestGateway, eventually};

mod budgets;
mod idempotency;
mod lookups;
mod operators;
mod receipts;
mod restored;
mod sums;
mod trouble;
mod written;

/// A ledger folder for one test, deleted on drop.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ledger-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &PathBuf {
        &self.0
    }

    pub fn file(&self) -> String {
        self.0.join("ledger.db").to_str().unwrap().to_owned()
    }

    /// The configuration sections that keep a ledger in this folder.
    pub fn toml(&self) -> String {
        let key = "synthetic-digest-key-0123456789abcdef";
        format!("[ledger]\nfile = {:?}\n[cache]\ndigest_key = {{ value = \"{key}\" }}\n", self.file())
    }

    pub fn gateway(&self) -> Builder {
        // Rate limits that no test reaches.
        let fast = |driver: &&Driver| format!("[providers.{}]\nrate_limit = 1000000\n", driver.name);
        TestGateway::new().over(self.toml()).over(DRIVERS.iter().map(fast).collect::<String>())
    }

    /// All current entries, from the database and the spool.
    pub async fn entries(&self) -> Vec<Entry> {
        // The spool is read first, so that entries moved to the database meanwhile are not missed.
        let spooled = self.spooled();
        let mut all: Vec<Entry> = Vec::new();
        let each = |_, body: &str| {
            all.push(serde_json::from_str(body).unwrap());
            Ok(())
        };
        self.reader().await.each::<idgate::storage::ledger::ReadError>(i64::MIN, i64::MAX, each).await.unwrap();
        let kept: HashSet<_> = all.iter().map(Entry::id).collect();
        let lines = spooled.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
        all.extend(lines.filter(|entry| !kept.contains(&entry.id())));
        all
    }

    /// The texts of the entries in the spool, each in a line, the older file first.
    pub fn spooled(&self) -> String {
        let texts = idgate::storage::ledger::spooled(self.file().as_ref(), None).unwrap();
        texts.into_iter().map(|text| text + "\n").collect()
    }

    pub async fn assert_sound(&self) {
        self.reader().await.check(&Default::default(), |_| {}).await.unwrap().unwrap();
    }

    async fn reader(&self) -> Reader {
        Reader::open(self.file().as_ref()).await.unwrap()
    }

    /// The entries in short form: `call outcome billed price`, `answer outcome source`, and so on.
    pub async fn in_short(&self) -> Vec<String> {
        let short = |entry: Entry| match entry {
            Entry::Call(call) => {
                let late = if call.end.late { " late" } else { "" };
                format!("call {} {} {}{late}", call.end.outcome, call.end.billed, call.end.price_micro_yuan)
            }
            Entry::Answer(answer) => format!("answer {} {}", answer.outcome, answer.source.unwrap_or_default()),
            Entry::Claim(claim) => format!("claim {}", claim.outcome),
            Entry::Forgotten(forgotten) => format!("forgotten {}", forgotten.operator),
            Entry::Removed(removed) => format!("removed {}", removed.up_to),
            Entry::Operation(done) => format!("operation {} {} {}", done.action, done.outcome, done.operator),
        };
        self.entries().await.into_iter().map(short).collect()
    }
}

/// Another connection to the ledger's database.
pub async fn connection(folder: &Folder) -> sqlx::SqliteConnection {
    use sqlx::Connection;
    sqlx::SqliteConnection::connect(&format!("sqlite:{}", folder.file())).await.unwrap()
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The configuration section of a client.
fn client(name: &str, key: &str) -> String {
    let hash: String = hex::encode(Sha256::digest(key));
    format!("[clients.{name}]\nkeys = [{{ id = \"{name}-1\", sha256 = \"{hash}\" }}]\n")
}

async fn get(gateway: &TestGateway, path: &str, key: &str) -> Reply {
    let request = gateway.http.get(format!("http://{}{path}", gateway.public)).bearer_auth(key);
    Reply::of(request.send().await.unwrap()).await
}

/// A GET on the admin listener.
async fn get_as_operator(gateway: &TestGateway, path: &str) -> Reply {
    Reply::of(gateway.http.get(format!("http://{}{path}", gateway.admin)).send().await.unwrap()).await
}
