use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{Span, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::chain_hash::Seal;
use super::database::{Store, migrations};
use super::journal::{Announced, Journal};
use super::journal_thread::JournalThread;
use super::wal::Wal;
use super::*;
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::DigestKey;

mod breakdown;
mod claims;
mod columns;
mod frames;
mod place;
mod removal;
mod spool;
mod sums;
mod trouble;
mod walks;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A test's own folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("idgate-ledger-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    async fn open(&self) -> Ledger {
        self.try_open(&Clock::fixed(Timestamp::UNIX_EPOCH)).await.unwrap()
    }

    async fn try_open(&self, clock: &Clock) -> Result<Ledger, OpenError> {
        let config = Config { file: Some(self.file()), keep: Span::new().days(400), ..Config::default() };
        Ledger::open(&config, clock.clone(), ids()).await
    }

    async fn check(&self) -> Result<Checked, Broken> {
        Reader::open(&self.file()).await.unwrap().check(&Expected::default(), |_| {}).await.unwrap()
    }

    /// One line per entry: its number, kind and result.
    async fn entries(&self) -> Vec<String> {
        let mut all = Vec::new();
        let reader = Reader::open(&self.file()).await.unwrap();
        let each = |number, body: &str| {
            all.push(match serde_json::from_str(body).unwrap() {
                Entry::Call(call) => format!("{number} call {} {}", call.end.outcome, call.end.billed),
                Entry::Answer(answer) => format!("{number} answer {}", answer.outcome),
                Entry::Claim(claim) => format!("{number} claim {}", claim.client),
                Entry::Forgotten(forgotten) => format!("{number} forgotten {}", forgotten.operator),
                Entry::Operation(operation) => format!("{number} {}", operation.outcome),
                Entry::Removed(removed) => format!("{number} {} up to {}", removed.outcome, removed.up_to),
            });
            Ok(())
        };
        reader.each::<ReadError>(i64::MIN, i64::MAX, each).await.unwrap();
        all
    }

    /// The texts of the entries in both spool files, each in a line.
    fn spooled(&self) -> String {
        let mut all = String::new();
        for name in ["ledger.spool", "ledger.spool-2"] {
            let file = std::fs::File::open(self.0.join(name)).unwrap();
            let each = |records: &[u8]| {
                record::rows(records).unwrap().iter().for_each(|row| all += &format!("{}\n", row.text));
            };
            super::spool::each_frame(&file, u64::MAX, each).unwrap();
        }
        all
    }

    /// Puts the entries into a file as the idgate wrote it that had these many migrations.
    async fn as_of(&self, version: i64) {
        let mut connection = self.connection().await;
        let rows = sqlx::query("SELECT seq, body, hash FROM entries ORDER BY seq").fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        std::fs::remove_file(self.file()).unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file()).create_if_missing(true);
        let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        let first = migrations().iter().filter(|one| one.version <= version).cloned().collect();
        sqlx::migrate::Migrator::with_migrations(first).run(&mut connection).await.unwrap();
        for row in rows.unwrap() {
            let insert = sqlx::query("INSERT INTO entries (seq, body, hash) VALUES ($1, $2, $3)");
            let insert = insert.bind(row.get::<i64, _>("seq")).bind(row.get::<String, _>("body"));
            insert.bind(row.get::<Vec<u8>, _>("hash")).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// Changes the database without going through the ledger.
    async fn change(&self, statements: &'static str) {
        let mut connection = self.connection().await;
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn connection(&self) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite:{}", self.file().display())).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is the outside world")]
fn ids() -> Ids {
    Ids::new(Uuid::new_v4, Uuid::now_v7)
}

fn subject() -> Subject {
    let key = DigestKey::new([7; 32]);
    Subject::new(&key, &key.digest("person/v1", &[b"somebody"]))
}

fn begun(flight: Uuid, at_ms: i64) -> Begun {
    Begun {
        flight,
        at_ms,
        id: ids().ordered(),
        client: "payout".to_owned(),
        key_id: "p1".to_owned(),
        purpose: "default".to_owned(),
        reference: Some("r-1".to_owned()),
        subject: subject(),
        configuration: "c".to_owned(),
    }
}

fn answer(outcome: &str) -> Answer {
    Answer { outcome: outcome.to_owned(), ..begun(Uuid::nil(), 0).cut_off(Vec::new()) }
}

fn verdict() -> End {
    End {
        outcome: "verdict".to_owned(),
        reason: None,
        verdict: Some("match".to_owned()),
        provider_request_id: Some("R-1".to_owned()),
        billed: "yes".to_owned(),
        price_micro_yuan: 300_000,
        duration_ms: 80,
        late: false,
    }
}

/// Records one answered question with one call.
async fn ask(ledger: &Ledger) -> Result<(), NotWritten> {
    // The answer has the id that the journal names: whatever the journal still has of it, it is not written twice.
    let id = ids().ordered();
    let flight = ledger.begin(|flight, at_ms| Begun { id, ..begun(flight, at_ms) })?;
    flight.call("one", "one.example", 300_000).await?.ended(verdict);
    ledger.write(Answer { id, ..answer("match") }.borrowed(), flight).await
}

#[tokio::test]
async fn what_is_written_is_there_in_order_and_sound() {
    let folder = Folder::new("order");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    // The ledger is still open: an entry is on the disk once its caller is answered, and any later lookup finds it.
    assert!(folder.spooled().matches("\"kind\"").count() + folder.entries().await.len() >= 2);
    assert_eq!(ledger.answers(&Wanted::default(), i64::MAX, 9).await.unwrap().found.len(), 1);
    assert_eq!(folder.spooled(), "");
    assert_eq!(folder.entries().await, ["1 call verdict yes", "2 answer match"]);
    for outcome in ["no_record", "invalid_name"] {
        ledger.note(answer(outcome).borrowed(), Flight::NONE);
    }
    ledger.close().await;
    drop(ledger);
    let again = folder.open().await;
    again.write(answer("mismatch").borrowed(), Flight::NONE).await.unwrap();
    again.close().await;
    let all =
        ["1 call verdict yes", "2 answer match", "3 answer no_record", "4 answer invalid_name", "5 answer mismatch"];
    assert_eq!(folder.entries().await, all);
    let checked = folder.check().await.unwrap();
    assert_eq!((checked.entries, checked.last), (5, 5));
    assert_eq!(std::fs::read(folder.0.join("ledger.begun")).unwrap(), b"", "nothing is open");
}

#[tokio::test]
async fn any_change_is_found_with_its_place() {
    let broken = [
        (
            "UPDATE entries SET body = replace(body, '\"no_record\"', '\"match\"') WHERE seq = 3",
            Broken::Changed { seq: 3 },
        ),
        ("UPDATE entries SET hash = zeroblob(32) WHERE seq = 2", Broken::Changed { seq: 2 }),
        ("UPDATE entries SET body = 'x' WHERE seq = 4", Broken::Changed { seq: 4 }),
        ("DELETE FROM entries WHERE seq = 2", Broken::Gap { after: 1, before: 3 }),
        ("DELETE FROM entries WHERE seq < 3", Broken::Gap { after: 0, before: 3 }),
        // Two entries swap places, each keeping its hash.
        (
            "UPDATE entries SET seq = 100 WHERE seq = 3; UPDATE entries SET seq = 3 WHERE seq = 4; UPDATE entries SET seq = 4 \
             WHERE seq = 100",
            Broken::Changed { seq: 3 },
        ),
    ];
    for (index, (change, expected)) in broken.into_iter().enumerate() {
        let folder = Folder::new(&format!("change-{index}"));
        let ledger = folder.open().await;
        for outcome in ["match", "mismatch", "no_record", "match"] {
            ledger.write(answer(outcome).borrowed(), Flight::NONE).await.unwrap();
        }
        ledger.close().await;
        assert!(folder.check().await.is_ok());
        if change.contains("'x'") {
            // The schema rejects a body that is not an entry; only a tool that ignores the schema can write one.
            let mut connection = folder.connection().await;
            let indexes = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL");
            for index in indexes.fetch_all(&mut connection).await.unwrap() {
                let drop = format!("DROP INDEX {}", index.get::<String, _>("name"));
                sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
            }
            let done = sqlx::raw_sql(change).execute(&mut connection).await;
            connection.close().await.unwrap();
            if done.is_err() {
                continue;
            }
        } else {
            folder.change(change).await;
        }
        assert_eq!(folder.check().await, Err(expected), "{change}");
    }
}

#[tokio::test]
async fn a_file_of_an_earlier_idgate_gets_what_has_been_added_since() {
    let folder = Folder::new("earlier");
    folder.open().await.close().await;
    folder.as_of(1).await;
    let ledger = folder.open().await;
    ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    let about = Wanted { subject: Some(subject().digest), ..Wanted::default() };
    assert_eq!(ledger.answers(&about, i64::MAX, 9).await.unwrap().found.len(), 1);
    ledger.close().await;
    assert!(folder.check().await.is_ok());
    folder.change("DROP INDEX calls_by_time; DROP INDEX claims_by_key").await;
}

#[tokio::test]
async fn a_seal_that_was_kept_shows_that_nothing_was_cut_off() {
    let folder = Folder::new("cut");
    let ledger = folder.open().await;
    for _ in 0..4 {
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    }
    ledger.close().await;
    let Checked { last, seal, .. } = folder.check().await.unwrap();
    let kept = Expected { seal: Some((last, seal)), ..Expected::default() };
    let check = async || Reader::open(&folder.file()).await.unwrap().check(&kept, |_| {}).await.unwrap();
    assert!(check().await.is_ok());
    folder.change("DELETE FROM entries WHERE seq = 4").await;
    assert!(folder.check().await.is_ok(), "the chain by itself cannot tell");
    assert_eq!(check().await, Err(Broken::NotAsExpected { seq: 4 }));
}

#[tokio::test]
async fn a_question_that_was_cut_off_is_outcome_unknown_after_the_next_start() {
    let folder = Folder::new("killed");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let (first, second) = (ledger.begin(begun).unwrap(), ledger.begin(begun).unwrap());
    first.call("one", "one.example", 300_000).await.unwrap().ended(verdict);
    // A later entry is on the disk, so this call is too; its own question has no answer.
    ledger.write(answer("mismatch").borrowed(), Flight::NONE).await.unwrap();
    let calling = second.call("two", "two.example", 200_000).await.unwrap();
    // The process is killed here: what it would still have written is lost.
    let begun = std::fs::read(folder.0.join("ledger.begun")).unwrap();
    ledger.close().await;
    drop((calling, first, second, ledger));
    std::fs::write(folder.0.join("ledger.begun"), [&begun[..], b"{\"call\":{\"id\""].concat()).unwrap();
    let again = folder.open().await;
    let all = [
        "1 call verdict yes",
        "2 answer match",
        "3 call verdict yes",
        "4 answer mismatch",
        "5 answer outcome_unknown",
        "6 call interrupted unknown",
        "7 answer outcome_unknown",
    ];
    assert_eq!(folder.entries().await, all);
    let wanted = Wanted { outcome: Some("outcome_unknown".to_owned()), ..Wanted::default() };
    let found = again.answers(&wanted, i64::MAX, 9).await.unwrap().found;
    let billed: Vec<_> = found.iter().flat_map(|found| found.answer.attempts.clone()).map(|one| one.billed).collect();
    assert_eq!(billed, ["unknown", "yes"]);
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn the_journal_stays_small_and_keeps_what_is_open() {
    let folder = Folder::new("journal");
    let (mut journal, _) = Journal::open(folder.0.join("begun")).unwrap();
    let call = |of: &Begun| BegunCall {
        id: ids().nonce(),
        flight: of.flight,
        at_ms: 0,
        provider: "one".to_owned(),
        endpoint: "one.example".to_owned(),
        price_micro_yuan: 300_000,
    };
    let stays = Begun { reference: Some("\"张三\"\n".to_owned()), ..begun(ids().nonce(), 0) };
    let calls = [call(&stays), BegunCall { endpoint: "\\".to_owned(), ..call(&stays) }];
    // The second call announces the flight again, as if the first had not been told in time.
    calls.iter().for_each(|call| journal.begin(vec![Announced::new(Some(&stays), call)]).unwrap());
    for _ in 0..10_000 {
        let flight = begun(ids().nonce(), 0);
        journal.begin(vec![Announced::new(Some(&flight), &call(&flight))]).unwrap();
        journal.end(flight.flight);
    }
    assert!(std::fs::metadata(folder.0.join("begun")).unwrap().len() < 2 << 20);
    drop(journal);
    let (_, left) = Journal::open(folder.0.join("begun")).unwrap();
    assert!(left.iter().any(|left| left.begun == stays && left.calls == calls));
}

#[tokio::test]
async fn the_journal_is_emptied_once_no_flight_is_open() {
    let folder = Folder::new("journal-thread");
    let path = folder.0.join("begun");
    let (journal, _) = Journal::open(path.clone()).unwrap();
    let thread = JournalThread::start(journal).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    let flights = [begun(ids().nonce(), 0), begun(ids().nonce(), 0)];
    for flight in flights.clone() {
        let call = BegunCall {
            id: ids().nonce(),
            flight: flight.flight,
            at_ms: 0,
            provider: "one".to_owned(),
            endpoint: "one.example".to_owned(),
            price_micro_yuan: 300_000,
        };
        thread.run(move |journal| journal.begin(vec![Announced::new(Some(&flight), &call)])).await.unwrap();
    }
    thread.end(flights[0].flight);
    assert!(!thread.run(|journal| Ok(journal.tidy())).await.unwrap(), "a flight is open");
    assert!(length() > 0);
    thread.end(flights[1].flight);
    assert!(thread.run(|journal| Ok(journal.tidy())).await.unwrap());
    assert_eq!(length(), 0);
}

/// Four answers, all of the first moment of 1970, and their seals.
async fn with_four_answers(name: &str) -> (Folder, Vec<Seal>) {
    let folder = Folder::new(name);
    let ledger = folder.open().await;
    for outcome in ["match", "mismatch", "no_record", "match"] {
        ledger.write(answer(outcome).borrowed(), Flight::NONE).await.unwrap();
    }
    ledger.close().await;
    let rows = sqlx::query("SELECT hash FROM entries ORDER BY seq").fetch_all(&mut folder.connection().await).await;
    let seals = rows.unwrap().iter().map(|row| Seal(row.get::<Vec<u8>, _>("hash").try_into().unwrap())).collect();
    (folder, seals)
}
