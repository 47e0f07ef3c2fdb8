//! Files that cannot be written or opened, or are damaged.

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::super::journal_thread::WITHIN;
use super::*;

#[tokio::test]
async fn the_spool_stands_in_and_is_emptied_once_even_if_its_cut_is_lost() {
    let folder = Folder::new("spool");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    // A lookup flushes the spool.
    assert_eq!(ledger.answers(&Wanted::default(), i64::MAX, 9).await.unwrap().found.len(), 1);
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    ask(&ledger).await.unwrap();
    let spool = folder.spooled();
    assert_eq!(spool.matches("\"kind\"").count(), 2, "the answer was told, so it is on the disk: {spool}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    ledger.note(answer("no_record").borrowed(), Flight::NONE);
    ledger.close().await;
    drop(ledger);
    let all = ["1 call verdict yes", "2 answer match", "3 call verdict yes", "4 answer match", "5 answer no_record"];
    assert_eq!(folder.entries().await, all);
    assert_eq!(folder.spooled(), "");
    // As if the process had ended after the commit and before the file was emptied. No caller was answered for the
    // incomplete last line.
    std::fs::write(folder.0.join("ledger.spool"), spool + "{\"kind\":\"ans").unwrap();
    folder.open().await.close().await;
    assert_eq!(folder.entries().await, all);
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_announced_does_not_begin() {
    let folder = Folder::new("nowhere");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let open = ledger.0.as_ref().unwrap();
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (paid, next) = (ledger.begin(begun).unwrap(), ledger.begin(begun).unwrap());
    let calling = paid.call("one", "one.example", 300_000).await.unwrap();
    open.queue.shared.journal.submit(Journal::break_for_a_test);
    assert!(next.call("one", "one.example", 300_000).await.is_err());
    assert!(paid.call("two", "two.example", 300_000).await.is_err(), "not even a second one");
    assert_eq!(ledger.begin(begun).map(drop), Err(NotWritten));
    calling.ended(verdict);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    ledger.close().await;
    assert_eq!(folder.entries().await.last().unwrap(), "3 call verdict yes", "what was paid is written all the same");
}

/// A disk that takes 3 s a write must not block a worker, nor make a caller wait for it.
#[tokio::test]
async fn a_journal_that_hangs_delays_no_worker_and_refuses_paid_calls_until_it_answers() {
    let folder = Folder::new("hangs");
    let ledger = folder.open().await;
    let shared = &ledger.0.as_ref().unwrap().queue.shared;
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    shared.journal.submit(move |_| _ = hangs.recv());
    let flight = ledger.begin(begun).unwrap();
    let began = tokio::time::Instant::now();
    // The second call comes while the first is being announced, and does not wait for a write of its own.
    let second = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        flight.call("two", "two.example", 300_000).await
    };
    let (refused, refused_too, ()) = tokio::join!(flight.call("one", "one.example", 300_000), second, async {
        // The only worker of this runtime goes on meanwhile.
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
        assert!(began.elapsed() < WITHIN);
    });
    assert!(refused.is_err() && refused_too.is_err());
    assert!((WITHIN..WITHIN * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(ledger.begin(begun).map(drop), Err(NotWritten), "the next one does not wait at all");
    drop(release);
    let probed = async || {
        shared.probe_journal();
        shared.journal.run(|_| Ok(())).await.unwrap();
    };
    probed().await;
    ask(&ledger).await.unwrap();
    drop(flight);
    ledger.close().await;
    assert_eq!(folder.entries().await, ["1 answer match", "2 call verdict yes", "3 answer match"]);
}

#[tokio::test]
async fn calls_that_are_announced_at_once_are_written_at_once() {
    let folder = Folder::new("announced-at-once");
    let ledger = folder.open().await;
    let flights = (0..300).map(|_| ledger.begin(begun).unwrap()).collect::<Vec<_>>();
    let calls = flights.iter().map(|flight| flight.call("one", "one.example", 300_000));
    let calls: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let shared = &ledger.0.as_ref().unwrap().queue.shared;
    assert_eq!(shared.journal.run(|journal| Ok(journal.writes)).await.unwrap(), 1);
    // The flights are known; another call of one of them adds its own line only.
    let length = || std::fs::metadata(folder.0.join("ledger.begun")).unwrap().len();
    let before = length();
    flights[0].call("two", "two.example", 300_000).await.unwrap().ended(verdict);
    assert!(length() - before < before / 300 / 2, "{before} {}", length());
    calls.into_iter().for_each(|call| call.ended(verdict));
    ledger.close().await;
    assert_eq!(folder.entries().await.len(), 301);
}

#[tokio::test]
async fn who_leaves_while_its_call_is_announced_leaves_nothing_in_the_journal() {
    let folder = Folder::new("announced-in-vain");
    let ledger = folder.open().await;
    let shared = &ledger.0.as_ref().unwrap().queue.shared;
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    shared.journal.submit(move |_| _ = hangs.recv());
    let flight = ledger.begin(begun).unwrap();
    assert!(flight.call("one", "one.example", 300_000).now_or_never().is_none());
    drop(flight);
    drop(release);
    while shared.journal.run(|journal| Ok(journal.writes)).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    while !shared.journal.run(|journal| Ok(journal.tidy())).await.unwrap() {
        tokio::task::yield_now().await;
    }
    ledger.close().await;
    assert_eq!(folder.entries().await, Vec::<String>::new());
}

#[test]
fn a_spool_that_hangs_refuses_the_answer_in_time_and_has_it_later() {
    // The spool is written on the only blocking thread, which is busy.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let folder = Folder::new("spool-hangs");
        let ledger = folder.open().await;
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || _ = hangs.recv());
        let flight = ledger.begin(begun).unwrap();
        flight.call("one", "one.example", 300_000).await.unwrap().ended(verdict);
        assert_eq!(ledger.write(answer("match").borrowed(), flight).await, Err(NotWritten));
        assert_eq!(ledger.begin(begun).map(drop), Err(NotWritten), "nothing more is paid meanwhile");
        drop(release);
        busy.await.unwrap();
        while ledger.begin(begun).is_err() {
            tokio::task::yield_now().await;
        }
        ledger.close().await;
        assert_eq!(folder.entries().await, ["1 call verdict yes", "2 answer match"]);
    });
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
    let told = async |folder: &Folder| folder.try_open(&clock).await.err().map(|error| error.to_string()).unwrap();
    let folder = Folder::new("open");
    let ledger = folder.open().await;
    assert!(told(&folder).await.contains("in use by another idgate"));
    for _ in 0..50 {
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    }
    ledger.close().await;
    drop(ledger);
    let mut connection = folder.connection().await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'answers_by_client'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let page_of_an_index = usize::try_from(page - 1).unwrap() * 4096;
    let sound = std::fs::read(folder.file()).unwrap();
    // Byte 18 is the file format's write version: one that SQLite does not know makes the file read-only.
    let mut newer = sound.clone();
    newer[18] = 3;
    std::fs::write(folder.file(), newer).unwrap();
    let read_only = told(&folder).await;
    assert!(read_only.contains("it is read-only; let this user write"), "{read_only}");
    let mut damaged = sound.clone();
    damaged[page_of_an_index..][..4096].iter_mut().for_each(|byte| *byte = 0xa5);
    std::fs::write(folder.file(), damaged).unwrap();
    let damaged = told(&folder).await;
    assert!(damaged.contains("it is damaged; `idgate ledger verify` says where"), "{damaged}");
    assert!(matches!(folder.check().await, Err(Broken::Damaged(_))));
    std::fs::write(folder.file(), "this is a text").unwrap();
    assert!(told(&folder).await.contains("it is damaged"));
    std::fs::remove_dir_all(&folder.0).unwrap();
    assert!(told(&folder).await.contains("there is no folder for it"));
}

#[tokio::test]
async fn a_page_that_is_damaged_while_it_runs_leaves_entries_in_the_spool() {
    let folder = Folder::new("page");
    let ledger = folder.open().await;
    for _ in 0..50 {
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    }
    ledger.close().await;
    drop(ledger);
    let sound = std::fs::read(folder.file()).unwrap();
    let mut connection = folder.connection().await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'answers_by_client'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let ledger = folder.open().await;
    let at = u64::try_from(page - 1).unwrap() * 4096;
    let file = std::fs::OpenOptions::new().write(true).open(folder.file()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], at).unwrap();
    ask(&ledger).await.unwrap();
    ledger.close().await;
    drop(ledger);
    assert_ne!(folder.spooled(), "");
    // An intact copy is restored; the next start moves the spool into it.
    for beside in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(folder.0.join(beside));
    }
    std::fs::write(folder.file(), &sound).unwrap();
    folder.open().await.close().await;
    assert_eq!(folder.entries().await.last().unwrap(), "52 answer match");
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn what_an_operator_did_while_nothing_could_be_written_is_written_afterwards() {
    let folder = Folder::new("operations");
    let ledger = folder.open().await;
    let shared = &ledger.0.as_ref().unwrap().queue.shared;
    let isolated = |id, at_ms| super::super::entry::Operation {
        id,
        at_ms,
        outcome: "isolated".to_owned(),
        action: "isolate".to_owned(),
        operator: "oncall".to_owned(),
        provider: Some("one".to_owned()),
        ..Default::default()
    };
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    shared.spool_is_broken.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(!ledger.record(isolated).await, "it is not on the disk");
    shared.spool_is_broken.store(false, std::sync::atomic::Ordering::SeqCst);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    ledger.close().await;
    drop(ledger);
    assert_eq!(folder.entries().await, ["1 isolated"]);
    assert!(folder.check().await.is_ok());
    let ledger = folder.open().await;
    let last = ledger.last_isolation("one").await.unwrap().unwrap();
    assert_eq!((&*last.operator, &*last.outcome), ("oncall", "isolated"));
    assert_eq!(ledger.last_isolation("two").await.unwrap(), None);
}
