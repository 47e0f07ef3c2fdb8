//! The spool across restarts: which file is older, and which of its entries the database already has.

use tokio_util::task::TaskTracker;

use super::*;

fn line(outcome: &str) -> String {
    record::text(&Entry::Answer(answer(outcome))).unwrap() + "\n"
}

impl Folder {
    fn leave(&self, spool: &str, spool_2: &str) {
        std::fs::write(self.0.join("ledger.spool"), spool).unwrap();
        std::fs::write(self.0.join("ledger.spool-2"), spool_2).unwrap();
    }

    async fn restart(&self) -> Vec<String> {
        self.open().await.close().await;
        assert_eq!(self.spooled(), "");
        assert!(self.check().await.is_ok());
        self.entries().await
    }
}

/// How many answers a lookup finds; `None` while the database lacks some.
async fn look(ledger: &Ledger) -> Option<usize> {
    ledger.answers(&Wanted::default(), i64::MAX, 9).await.ok().map(|answers| answers.found.len())
}

/// Lets other tasks and blocking threads make progress.
async fn turns() {
    for _ in 0..20 {
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_two_files_the_older_one_is_moved_first_whatever_their_names() {
    let folder = Folder::new("two");
    let (match_, mismatch) = (line("match"), line("mismatch"));
    folder.leave(&format!("# 10\n{match_}"), &format!("# 9\n{mismatch}"));
    assert_eq!(folder.restart().await, ["1 answer mismatch", "2 answer match"]);
    // A file without a number comes from an earlier version. No caller was answered for the incomplete last line.
    folder.leave(&format!("# 3\n{}{{\"kind\":", line("no_record")), &line("invalid_name"));
    assert_eq!(folder.restart().await[2..], ["3 answer invalid_name", "4 answer no_record"]);
}

#[tokio::test]
async fn what_the_database_has_of_a_file_is_passed_over_and_the_rest_is_moved() {
    let folder = Folder::new("half");
    let lines: Vec<_> = ["match", "mismatch", "no_record"].map(line).into();
    folder.leave(&format!("# 1\n{}{}", lines[0], lines[1]), "");
    folder.restart().await;
    // As if the process had ended before it emptied the file, and after more entries had arrived.
    folder.leave(&format!("# 1\n{}", lines.concat()), &format!("# 2\n{}", line("match")));
    let all = ["1 answer match", "2 answer mismatch", "3 answer no_record", "4 answer match"];
    assert_eq!(folder.restart().await, all);
    folder.leave(&format!("# 1\n{}", lines.concat()), "");
    assert_eq!(folder.restart().await, all);
}

#[tokio::test]
async fn a_file_that_is_damaged_is_named_and_nothing_begins() {
    let folder = Folder::new("damaged");
    for damaged in ["# 1\nno JSON\n".to_owned(), "# one\n".to_owned(), format!("# 1\n{}\u{0}\n", line("match"))] {
        folder.leave("", &damaged);
        let told = folder.try_open(&Clock::fixed(Timestamp::UNIX_EPOCH)).await.err().map(|error| error.to_string());
        let told = told.unwrap();
        assert!(told.contains("ledger.spool-2") && told.contains("damaged"), "{told}");
    }
}

#[tokio::test]
async fn what_a_locked_database_did_not_get_by_the_end_the_next_start_moves() {
    let folder = Folder::new("locked-end");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    // A lookup returns even while the database cannot take the entries.
    ask(&ledger).await.unwrap();
    assert_eq!(look(&ledger).await, None);
    ask(&ledger).await.unwrap();
    assert_eq!(look(&ledger).await, None);
    ledger.close().await;
    drop(ledger);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert_eq!(folder.restart().await.len(), 6);
}

#[tokio::test]
async fn a_file_with_nothing_but_its_head_is_emptied_like_any_other() {
    let folder = Folder::new("head");
    folder.leave(&format!("# 1\n{}", line("match")), "# 2\n");
    assert_eq!(folder.restart().await.len(), 1);
    // No entry has arrived since the last flush when the ledger closes.
    let ledger = folder.open().await;
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    ask(&ledger).await.unwrap();
    look(&ledger).await;
    ledger.close().await;
    drop(ledger);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    assert_eq!(look(&ledger).await, Some(3), "two of before and one of now");
    assert!(ledger.0.as_ref().unwrap().queue.shared.meter.is_level());
    ledger.close().await;
}

#[tokio::test]
async fn what_the_spool_cannot_take_while_a_round_is_at_work_is_told_when_it_is_in_the_database() {
    let folder = Folder::new("meanwhile");
    let ledger = folder.open().await;
    let mut other = folder.connection().await;
    ask(&ledger).await.unwrap();
    look(&ledger).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    ask(&ledger).await.unwrap();
    let tasks = TaskTracker::new();
    let looking = tasks.spawn({
        let ledger = ledger.clone();
        async move { look(&ledger).await }
    });
    // The flush starts and waits for the lock.
    turns().await;
    ledger.0.as_ref().unwrap().queue.shared.spool_is_broken.store(true, Ordering::SeqCst);
    let writing = tasks.spawn({
        let ledger = ledger.clone();
        async move { ledger.write(answer("mismatch").borrowed(), Flight::NONE).await }
    });
    turns().await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    writing.await.unwrap().unwrap();
    let all = folder.entries().await;
    assert_eq!(all.last().unwrap(), "5 answer mismatch", "{all:?}");
    looking.await.unwrap();
    ledger.close().await;
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn a_claim_is_found_through_every_trouble_until_the_database_has_it() {
    let folder = Folder::new("claims-trouble");
    let ledger = folder.open().await;
    let shared = Arc::clone(&ledger.0.as_ref().unwrap().queue.shared);
    let mut other = folder.connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    claims::claim(&ledger, 1).await;
    // This claim stays in a file that cannot be flushed, the next one in the other file.
    look(&ledger).await;
    claims::claim(&ledger, 2).await;
    shared.spool_is_broken.store(true, Ordering::SeqCst);
    assert_eq!(ledger.write(answer("match").borrowed(), Flight::NONE).await, Err(NotWritten));
    assert!(ledger.begin(begun).is_err(), "nothing is paid while nothing can be written");
    shared.spool_is_broken.store(false, Ordering::SeqCst);
    let both = async || [claims::state(&ledger, 1).await.0, claims::state(&ledger, 2).await.0];
    while ledger.begin(begun).is_err() {
        assert_eq!(both().await, [true, true]);
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    while !shared.meter.is_level() {
        assert_eq!(both().await, [true, true]);
    }
    assert_eq!(both().await, [true, true]);
    ledger.close().await;
    assert_eq!(folder.entries().await, ["1 claim payout", "2 claim payout"]);
}

#[tokio::test]
async fn many_that_write_and_look_at_once_find_what_they_wrote_and_the_order_is_sound() {
    let folder = Folder::new("many");
    let ledger = folder.open().await;
    let work = (0..200).map(|n| {
        let ledger = ledger.clone();
        async move {
            let flight = ledger.begin(begun).unwrap();
            flight.call("one", "one.example", 300_000).await.unwrap().ended(verdict);
            let id = ids().ordered();
            ledger.write(Answer { id, ..answer("match") }.borrowed(), flight.clone()).await.unwrap();
            if n % 4 == 0 {
                assert!(ledger.answer(id).await.unwrap().is_some(), "{n}");
                assert_eq!(ledger.calls(flight.id().unwrap()).await.unwrap().len(), 1);
            }
        }
    });
    futures_util::future::join_all(work).await;
    let open = ledger.0.as_ref().unwrap();
    let reader = ledger.reader().await.unwrap().unwrap();
    assert_eq!(reader.count(i64::MIN, i64::MAX).await.unwrap(), 400);
    assert!(open.queue.shared.meter.is_level() && open.queue.shared.waiting.load(Ordering::SeqCst) == 0);
    ledger.close().await;
    assert!(folder.check().await.is_ok());
}
