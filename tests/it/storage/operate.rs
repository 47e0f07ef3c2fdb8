//! What operators do with the record: make it, check it, export it, fill it.

use std::collections::HashSet;

use idgate::storage::ledger::postgres::{self, Books, BrokenBook, ExpectedSeal, Exported, Record};
use idgate::storage::ledger::{Flight, ReadError, Reader};
use serde_json::json;

use super::{Place, answer, ask, ids};
use crate::support::postgres::{Postgres, USER};

impl Place {
    pub fn section(&self) -> postgres::Config {
        let (socket, database) = self.postgres.as_ref().unwrap();
        serde_json::from_value(json!({"host": socket, "database": database, "user": USER})).unwrap()
    }

    pub async fn check(&self, books: &Books) -> Result<Vec<String>, BrokenBook> {
        let record = Record::open(&self.section()).await.unwrap();
        let sound = record.check(books, |_| {}).await.unwrap()?;
        Ok(sound.into_iter().map(|book| format!("{}/{}={}", book.replica, book.last, book.entries.unwrap())).collect())
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_check_finds_what_was_changed_removed_or_moved() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    for name in ["a", "b"] {
        let ledger = place.replica(name).await;
        for _ in 0..3 {
            ask(&ledger, "somebody").await;
        }
        ledger.close().await;
    }
    let all = Books::default();
    assert_eq!(place.check(&all).await.unwrap(), ["a/6=6", "b/6=6"]);
    let only = Books { replica: Some("b".to_owned()), ..Books::default() };
    assert_eq!(place.check(&only).await.unwrap(), ["b/6=6"]);
    let month: i32 = sql("SELECT DISTINCT book FROM idgate.heads").parse().unwrap();
    let seal = sql("SELECT encode(seal, 'hex') FROM idgate.entries WHERE replica = 'a' AND seq = 4");
    let expect = |number, seal: &str| Books {
        expected: vec![ExpectedSeal { replica: "a".to_owned(), month, number, seal: seal.to_owned() }],
        ..Books::default()
    };
    place.check(&expect(4, &seal)).await.unwrap();
    let missing = Err(BrokenBook::NotAsExpected { replica: "a".to_owned(), month, number: 9 });
    assert_eq!(place.check(&expect(9, &seal)).await, missing);
    let (replica, entries) = ("a".to_owned(), format!("idgate.entries_{month}"));
    let broken = async |change: String| {
        // Undone by copying the tables back.
        sql("CREATE SCHEMA kept");
        for table in [entries.trim_start_matches("idgate."), "heads", "daily"] {
            sql(&format!("CREATE TABLE kept.{table} AS TABLE idgate.{table}"));
        }
        sql(&change);
        let broken = place.check(&all).await.unwrap_err();
        for table in [entries.trim_start_matches("idgate."), "heads", "daily"] {
            sql(&format!("DELETE FROM idgate.{table}; INSERT INTO idgate.{table} SELECT * FROM kept.{table}"));
        }
        sql("DROP SCHEMA kept CASCADE");
        assert_eq!(place.check(&all).await.unwrap(), ["a/6=6", "b/6=6"], "after {change}");
        broken
    };
    let of_a = "WHERE replica = 'a' AND";
    assert_eq!(
        broken(format!("UPDATE {entries} SET body = replace(body, 'match', 'mismatch') {of_a} seq = 2")).await,
        BrokenBook::Changed { replica: replica.clone(), month, number: 2 }
    );
    assert_eq!(
        broken(format!("UPDATE {entries} SET outcome = 'mismatch' {of_a} seq = 2")).await,
        BrokenBook::Columns { replica: replica.clone(), month, number: 2 }
    );
    assert_eq!(
        broken(format!("DELETE FROM {entries} {of_a} seq = 3")).await,
        BrokenBook::Gap { replica: replica.clone(), month, after: 2 }
    );
    assert_eq!(
        broken(format!("DELETE FROM {entries} {of_a} seq = 6")).await,
        BrokenBook::Head { replica: replica.clone(), month, number: 6 }
    );
    assert_eq!(
        broken("DELETE FROM idgate.heads WHERE replica = 'a'".to_owned()).await,
        BrokenBook::NoHead { replica: replica.clone(), month }
    );
    let sums = broken("UPDATE idgate.daily SET micro_yuan = micro_yuan + 1 WHERE replica = 'b'".to_owned()).await;
    assert!(matches!(sums, BrokenBook::Sums { .. }), "{sums}");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn an_sqlite_ledger_is_imported_once_however_often_and_exported_again() {
    let (file, place) = (Place::sqlite(), Place::postgres());
    let ledger = file.open().await;
    for _ in 0..5 {
        ask(&ledger, "somebody").await;
    }
    ledger.note(answer(ids().ordered(), "other", "mismatch").borrowed(), Flight::NONE);
    ledger.close().await;
    let path = file.folder().join("ledger.db");
    let mut texts = HashSet::new();
    let each = |_, body: &str| Ok::<_, ReadError>(_ = texts.insert(body.to_owned()));
    Reader::open(&path).await.unwrap().each(i64::MIN, i64::MAX, each).await.unwrap();
    assert_eq!(texts.len(), 11);
    let clock = idgate::domain::clock::Clock::fixed(jiff::Timestamp::from_millisecond(place.now_ms()).unwrap());
    for (entries, known) in [(11, 0), (0, 11)] {
        let imported = postgres::import(&place.section(), &path, "import", (&clock, &ids()), |_| {}).await.unwrap();
        assert_eq!((imported.entries, imported.known, imported.left_out), (entries, known, 0));
    }
    assert_eq!(place.check(&Books::default()).await.unwrap(), ["import/13=13"]);
    let record = Record::open(&place.section()).await.unwrap();
    let mut exported = HashSet::new();
    let each = |entry: Exported<'_>| Ok::<_, ReadError>(_ = exported.insert(entry.body.to_owned()));
    record.each(i64::MIN, i64::MAX, each).await.unwrap();
    assert_eq!(exported.intersection(&texts).count(), 11, "byte for byte");
    let sums = "SELECT replica, sum(calls), sum(micro_yuan) FROM idgate.daily GROUP BY replica";
    assert_eq!(Postgres::shared().sql(place.database(), sums), "import|5|1500000");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_role_that_may_only_write_works_after_the_owner_has_migrated() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let clock = idgate::domain::clock::Clock::new(jiff::Timestamp::now);
    let role = format!("writer_{}", place.database());
    sql(&format!("CREATE ROLE {role} LOGIN"));
    let (socket, database) = place.postgres.clone().unwrap();
    let section = json!({"host": socket, "database": database, "user": role, "migrate": false});
    let strict: postgres::Config = serde_json::from_value(section.clone()).unwrap();
    let why = postgres::probe(&strict, &clock).await.unwrap_err().to_string();
    assert!(why.contains("idgate ledger migrate"), "{why}");
    postgres::migrate(&place.section(), &clock).await.unwrap();
    postgres::migrate(&place.section(), &clock).await.unwrap();
    let months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'idgate.entries'::regclass";
    assert_eq!(sql(months), "4");
    sql(&format!("GRANT USAGE ON SCHEMA idgate TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA idgate TO {role}"));
    let why = postgres::probe(&strict, &clock).await.unwrap_err().to_string();
    assert!(why.contains("INSERT on idgate.entries"), "{why}");
    sql(&format!(
        "GRANT INSERT ON idgate.entries TO {role}; GRANT INSERT, UPDATE ON idgate.heads, idgate.replicas, idgate.daily, \
         idgate.retention TO {role}; GRANT INSERT, UPDATE, DELETE ON idgate.claims TO {role}; \
         GRANT INSERT, DELETE ON idgate.forgotten TO {role}"
    ));
    let told = postgres::probe(&strict, &clock).await.unwrap();
    assert!(told.starts_with("PostgreSQL ") && told.ends_with(&role), "{told}");
    let mut config = place.config("a");
    config.postgres = Some(serde_json::from_value(section).unwrap());
    let ledger = place.try_open(&config).await.unwrap();
    let (id, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(id).await.unwrap().is_some());
    ledger.close().await;
    assert_eq!(place.check(&Books::default()).await.unwrap(), ["a/2=2"]);
}
