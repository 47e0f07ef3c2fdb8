//! The columns that entries bring with them, and those that earlier entries have from their text.

use super::super::entry::{Attempt, Operation, Removed};
use super::*;

/// One of every kind, with and without what may be missing.
fn every_kind() -> Vec<Entry> {
    let flight = ids().ordered();
    let odd = "\"\\/\u{7}张三\t".to_owned();
    let begun = Begun { reference: Some(odd.clone()), ..begun(flight, 7) };
    let call = |id, end| {
        let call = BegunCall {
            id,
            flight,
            at_ms: 7,
            provider: "one".to_owned(),
            endpoint: "one.example".to_owned(),
            price_micro_yuan: 300_000,
        };
        begun.call(&call, 8, end)
    };
    let refused = End { outcome: "account_fault".to_owned(), reason: Some("arrears".to_owned()), ..verdict() };
    let calls = [call(ids().ordered(), verdict()), call(ids().ordered(), refused)];
    let full = Answer {
        source: Some("cache".to_owned()),
        provider: Some("one".to_owned()),
        provider_request_id: Some("R-1".to_owned()),
        verified_at_ms: Some(6),
        receipt: Some("00".repeat(32)),
        claim: Some(ids().ordered()),
        outcome: "match".to_owned(),
        id: ids().ordered(),
        ..begun.clone().cut_off(calls.iter().map(Attempt::from).collect())
    };
    let bare = Answer {
        id: ids().ordered(),
        subject: None,
        reference: None,
        flight: None,
        claim: None,
        provider: None,
        // The provider and the reason of an attempt are not those of the answer.
        attempts: calls.iter().map(Attempt::from).collect(),
        ..full.clone()
    };
    let hit = Answer { id: ids().ordered(), reference: None, flight: None, claim: None, ..full.clone() };
    let claim = Claim {
        id: ids().ordered(),
        at_ms: 9,
        client: odd.clone(),
        outcome: "claimed".to_owned(),
        key: "ab".repeat(32),
        body: "cd".repeat(32),
        subject: subject(),
    };
    let forgotten = Forgotten {
        id: ids().ordered(),
        at_ms: 10,
        client: String::new(),
        outcome: "forgotten".to_owned(),
        subject: subject(),
        operator: "somebody".to_owned(),
        reason: Some("asked".to_owned()),
    };
    let operation = Operation {
        id: ids().ordered(),
        at_ms: 11,
        outcome: "isolated".to_owned(),
        action: "isolate".to_owned(),
        provider: Some("one".to_owned()),
        subject: Some(subject()),
        ..Operation::default()
    };
    let removed = Removed::new((1, Seal::NONE), Some(-1), 12, 1);
    let [one, two] = calls;
    let mut all = vec![Entry::Call(one), Entry::Call(two), Entry::Claim(claim), Entry::Forgotten(forgotten)];
    all.extend([full, bare, hit].map(Entry::Answer));
    all.extend([Entry::Operation(operation), Entry::Removed(removed)]);
    all
}

/// What queries see of every entry, as SQLite writes it.
async fn seen(folder: &Folder) -> Vec<String> {
    let text = "SELECT json_array(seq, body, id, kind, at_ms, client, outcome, flight, reference, subject, provider, \
                billed, price_micro_yuan, reason, claimed_key, claim, subject_start, span) AS seen \
                FROM entries ORDER BY seq";
    let rows = sqlx::query(text).fetch_all(&mut folder.connection().await).await.unwrap();
    rows.iter().map(|row| row.get("seen")).collect()
}

async fn with_every_kind(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.open().await.close().await;
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    store.append_entries(&every_kind()).await.unwrap();
    store.close().await;
    folder
}

#[tokio::test]
async fn the_columns_that_an_entry_brings_are_those_that_sqlite_takes_from_its_text() {
    let folder = with_every_kind("columns").await;
    let brought = seen(&folder).await;
    assert_eq!(brought.len(), 9);
    folder.as_of(8).await;
    assert_eq!(seen(&folder).await, brought, "as an earlier idgate had them");
    let count = "SELECT count(*) FROM pragma_table_xinfo('entries') WHERE name = 'own_kind'";
    let has = async || sqlx::query_scalar::<_, i64>(count).fetch_one(&mut folder.connection().await).await.unwrap();
    assert_eq!(has().await, 0);
    // The file of the earlier idgate goes on: its entries keep their columns, and its indexes stay sound.
    folder.open().await.close().await;
    assert_eq!((has().await, seen(&folder).await), (1, brought));
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let about = Wanted { subject: Some(subject().digest), ..Wanted::default() };
    assert_eq!(ledger.answers(&about, i64::MAX, 9).await.unwrap().found.len(), 3, "two of before and one of now");
    ledger.close().await;
    let told =
        sqlx::query_scalar::<_, String>("PRAGMA integrity_check").fetch_one(&mut folder.connection().await).await;
    assert_eq!(told.unwrap(), "ok");
}

#[tokio::test]
async fn a_column_that_says_something_else_than_its_entry_is_found() {
    let folder = Folder::new("columns-changed");
    let ledger = folder.open().await;
    for _ in 0..2 {
        ask(&ledger).await.unwrap();
    }
    ledger.close().await;
    assert!(folder.check().await.is_ok());
    for change in [
        "UPDATE entries SET own_outcome = 'mismatch' WHERE seq = 2",
        "UPDATE entries SET own_kind = 'claim' WHERE seq = 2",
        "UPDATE entries SET own_at_ms = 1 WHERE seq = 2",
        "UPDATE entries SET own_subject = NULL WHERE seq = 2",
        "UPDATE entries SET own_claim = 'x' WHERE seq = 2",
        "UPDATE entries SET own_price = 1 WHERE seq = 2",
    ] {
        let sound = std::fs::read(folder.file()).unwrap();
        folder.change(change).await;
        assert_eq!(folder.check().await, Err(Broken::Columns { seq: 2 }), "{change}");
        std::fs::write(folder.file(), sound).unwrap();
    }
    assert!(folder.check().await.is_ok());
}

#[test]
fn what_is_written_by_hand_is_what_serde_writes() {
    let mut count = 0;
    for entry in every_kind() {
        for text in ["", "plain", "中文", "\"", "\\", "\n", "\u{1}", "\u{7f}", "/</script>"] {
            let (text, mut entry) = (text.to_owned(), entry.clone());
            match &mut entry {
                Entry::Call(call) => {
                    (call.client, call.purpose, call.endpoint) = (text.clone(), text.clone(), text.clone());
                    call.end.provider_request_id = Some(text);
                }
                Entry::Answer(answer) => {
                    (answer.client, answer.key_id, answer.purpose) = (text.clone(), text.clone(), text.clone());
                    (answer.reference, answer.provider_request_id) = (Some(text.clone()), Some(text));
                    assert_eq!(answer.borrowed().owned(), *answer);
                }
                _ => continue,
            }
            assert_eq!(record::text(&entry).unwrap(), serde_json::to_string(&entry).unwrap());
            count += 1;
        }
    }
    assert_eq!(count, 5 * 9);
}
