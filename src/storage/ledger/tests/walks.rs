//! Look-ups and exports: what they find, and what bounds them.

use super::*;

#[tokio::test]
async fn a_person_is_found_in_every_span_page_by_page_by_the_index_alone() {
    let folder = Folder::new("spans");
    let ledger = folder.open().await;
    ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    ledger.close().await;
    drop(ledger);
    // The same person again: on both sides of a border between spans, and two spans later.
    let copies = "INSERT INTO entries (seq, body, hash) SELECT 16383, json_set(body, '$.id', 'a'), hash FROM entries WHERE seq = 1; \
                  INSERT INTO entries (seq, body, hash) SELECT 16384, json_set(body, '$.id', 'b'), hash FROM entries WHERE seq = 1; \
                  INSERT INTO entries (seq, body, hash) SELECT 50000, json_set(body, '$.id', 'c'), hash FROM entries WHERE seq = 1; \
                  UPDATE entries SET body = json_set(body, '$.id', '01a2168d-cafe-7000-8000-' || printf('%012d', seq))";
    folder.change(copies).await;
    let reader = Reader::open(&folder.file()).await.unwrap();
    let page = async |below| {
        let about = Wanted { subject: Some(subject().digest), client: Some("payout".to_owned()), ..Wanted::default() };
        let found = reader.answers(&about, below, 2, 9).await.unwrap().found;
        found.into_iter().map(|found| found.seq).collect::<Vec<_>>()
    };
    assert_eq!((page(i64::MAX).await, page(16_384).await), (vec![50_000, 16_384], vec![16_383, 1]));
    assert_eq!(page(1).await, [0; 0]);
    let about = Wanted { subject: Some("a".to_owned()), client: Some("c".to_owned()), ..Wanted::default() };
    let plan = about.explained(9);
    let steps = sqlx::query(sqlx::AssertSqlSafe(plan)).fetch_all(&mut folder.connection().await).await.unwrap();
    let steps: Vec<_> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
    assert!(steps.iter().any(|step| step.contains("answers_by_subject (span=? AND subject_start=?")), "{steps:?}");
}

/// A ledger of 2,000 answers of one client, all but the first without a provider.
async fn with_many_answers(name: &str) -> Folder {
    let (folder, _) = with_four_answers(name).await;
    let copies = "WITH RECURSIVE n (n) AS (SELECT 5 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) \
                  INSERT INTO entries (seq, body, hash) SELECT n, json_set(body, '$.id', \
                  '01a2168d-cafe-7000-8000-' || printf('%012d', n)), hash FROM n, entries WHERE seq = 1; \
                  UPDATE entries SET body = json_set(body, '$.provider', 'one'), own_provider = 'one' WHERE seq = 1";
    folder.change(copies).await;
    folder
}

#[tokio::test]
async fn a_walk_over_answers_that_do_not_match_has_a_bound_and_says_where_to_go_on() {
    let folder = with_many_answers("walk").await;
    let reader = Reader::open(&folder.file()).await.unwrap();
    let walks = [
        Wanted { client: Some("payout".to_owned()), ..Wanted::default() },
        Wanted { reference: Some("r-1".to_owned()), ..Wanted::default() },
        Wanted { subject: Some(subject().digest), ..Wanted::default() },
        Wanted::default(),
    ];
    for wanted in walks {
        let wanted = Wanted { provider: Some("one".to_owned()), ..wanted };
        let (mut below, mut pages) = (Some(i64::MAX), Vec::new());
        while let Some(from) = below {
            let page = reader.answers(&wanted, from, 100, 1000).await.unwrap();
            pages.push(page.found.iter().map(|found| found.seq).collect::<Vec<_>>());
            below = page.below;
        }
        assert_eq!(pages[0], [0; 0], "{wanted:?}");
        assert_eq!((pages.concat(), pages.len()), (vec![1], 3), "{wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_whose_reader_stalls_does_not_keep_the_write_ahead_log() {
    let folder = with_many_answers("stalled").await;
    let reader = Reader::open(&folder.file()).await.unwrap();
    let mut seen = 0;
    let each = |_, _: &str| {
        seen += 1;
        if seen == 700 {
            // The reader of the export stalls here, while the gateway goes on to write.
            let stalled = async {
                let mut other = folder.connection().await;
                sqlx::raw_sql("UPDATE retention SET believed_ms = 1").execute(&mut other).await.unwrap();
                let cut = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut other).await.unwrap();
                assert_eq!(cut.get::<i64, _>(0), 0, "a query is open");
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stalled));
        }
        Ok(())
    };
    reader.each::<ReadError>(i64::MIN, i64::MAX, each).await.unwrap();
    assert_eq!(seen, 2000);
}

#[tokio::test]
async fn a_lookup_by_id_waits_for_no_walk() {
    let folder = Folder::new("by-id");
    let ledger = folder.open().await;
    let id = ids().ordered();
    ledger.write(Answer { id, ..answer("match") }.borrowed(), Flight::NONE).await.unwrap();
    let pool = ledger.reader().await.unwrap().unwrap().pool().clone();
    let mut busy = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        busy.push(pool.acquire().await.unwrap());
    }
    assert_eq!(ledger.answer(id).await.unwrap().map(|found| found.id), Some(id));
    drop(busy);
    ledger.close().await;
}

/// Issue 13, line 9: the write-ahead log grows for as long as a query is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_export_does_not_grow_the_write_ahead_log() {
    const MIB: u64 = 1024 * 1024;
    let folder = Folder::new("stalled-export");
    folder.open().await.close().await;
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    let mut append = async |count: usize| {
        for _ in 0..count {
            let mut entries = Vec::new();
            for _ in 0..500 {
                let answer = Answer { id: ids().ordered(), ..answer("match") };
                entries.push(Entry::Answer(Answer { configuration: "c".repeat(2000), ..answer }));
            }
            store.append_entries(&entries).await.unwrap();
        }
    };
    append(2).await;
    let reader = Reader::open(&folder.file()).await.unwrap();
    let (began, has_begun) = std::sync::mpsc::channel();
    let (release, stalled) = std::sync::mpsc::channel::<()>();
    let stalled = std::sync::Mutex::new(stalled);
    let export = tokio_util::task::TaskTracker::new().spawn(async move {
        let mut count = 0;
        let each = |_, _: &str| {
            count += 1;
            if count == 1 {
                began.send(()).unwrap();
                stalled.lock().unwrap().recv().unwrap();
            }
            Ok(())
        };
        reader.each::<ReadError>(i64::MIN, i64::MAX, each).await.map(|()| count)
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    append(20).await;
    let wal = std::fs::metadata(folder.0.join("ledger.db-wal")).unwrap().len();
    release.send(()).unwrap();
    assert_eq!(export.await.unwrap().unwrap(), 1000);
    assert!(wal < 12 * MIB, "{wal} bytes, of {} written", std::fs::metadata(folder.file()).unwrap().len());
}
