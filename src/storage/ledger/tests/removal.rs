//! Expired entries: how they are removed, and what forges a removal.

use super::*;

#[tokio::test]
async fn what_is_too_old_goes_from_the_front_and_what_is_left_is_sound() {
    let folder = Folder::new("old");
    let now = Arc::new(AtomicI64::new(0));
    let moved = Arc::clone(&now);
    let clock = Clock::new(move || Timestamp::from_millisecond(moved.load(Ordering::SeqCst)).unwrap());
    let ledger = folder.try_open(&clock).await.unwrap();
    for day in [0, 1, 2, 300] {
        now.store(day * DAY, Ordering::SeqCst);
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
    }
    ledger.close().await;
    drop(ledger);
    now.store(402 * DAY, Ordering::SeqCst);
    for _ in 0..2 {
        let ledger = folder.try_open(&clock).await.unwrap();
        // The first removal of expired entries starts before the first entry is written.
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
        ledger.close().await;
        drop(ledger);
        confirm_time(&folder.file()).await.unwrap();
    }
    let all = folder.entries().await;
    assert_eq!((all.len(), &*all[0]), (5, "3 answer match"), "{all:?}");
    assert!(all.iter().any(|entry| entry.ends_with("removed up to 2")), "{all:?}");
    assert!(folder.check().await.is_ok());
    let accepts = Expected { keep: Some(Duration::from_hours(400 * 24)), ..Expected::default() };
    let check =
        async |expected: &Expected| Reader::open(&folder.file()).await.unwrap().check(expected, |_| {}).await.unwrap();
    let checked = check(&accepts).await.unwrap();
    assert_eq!((checked.removed_up_to, checked.last, checked.is_adopted), (2, 7, false));
    let longer = Expected { keep: Some(Duration::from_hours(401 * 24)), ..accepts };
    assert!(matches!(check(&longer).await, Err(Broken::Removal { up_to: 2, .. })));
}

#[tokio::test]
async fn a_forged_removal_is_found_with_and_without_an_expected_seal() {
    // As an earlier idgate noted a removal: an unsealed row.
    let (folder, seals) = with_four_answers("forged-row").await;
    let mut other = folder.connection().await;
    sqlx::raw_sql("CREATE TABLE removed (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT")
        .execute(&mut other)
        .await
        .unwrap();
    let row = sqlx::query("INSERT INTO removed VALUES (2, $1)").bind(seals[1].0.to_vec());
    row.execute(&mut other).await.unwrap();
    sqlx::raw_sql("DELETE FROM entries WHERE seq <= 2").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let kept = Expected { seal: Some((4, seals[3].to_hex())), ..Expected::default() };
    let reader = Reader::open(&folder.file()).await.unwrap();
    for expected in [&Expected::default(), &kept] {
        assert_eq!(reader.check(expected, |_| {}).await.unwrap(), Err(Broken::Gap { after: 0, before: 3 }));
    }
    // Nor does a start believe it.
    folder.open().await.close().await;
    assert_eq!(folder.check().await, Err(Broken::Gap { after: 0, before: 3 }));
    // As a sealed entry, by somebody who knows how seals are made.
    let keep = 400 * DAY;
    let forged = [
        ("young", 2, Some(0), 0, keep),
        ("late", 2, Some(-2), keep, keep),
        ("gap", 2, Some(-keep - 1), 0, keep),
        ("no-keep", 2, Some(-1), 0, 0),
        ("no-age", 2, None, 0, keep),
        ("itself", 5, Some(-keep - 1), 0, keep),
    ];
    for (name, up_to, newest_ms, at_ms, keep_ms) in forged {
        let (folder, seals) = with_four_answers(&format!("forged-{name}")).await;
        let removed = Removed::new((up_to, seals[1]), newest_ms, at_ms, keep_ms);
        let removed = Removed { outcome: "removed".to_owned(), ..removed };
        let body = record::text(&Entry::Removed(removed)).unwrap();
        let mut other = folder.connection().await;
        let row = sqlx::query("INSERT INTO entries (seq, body, hash) VALUES (5, $1, $2)").bind(&body);
        row.bind(seals[3].next(5, &body).0.to_vec()).execute(&mut other).await.unwrap();
        sqlx::raw_sql("DELETE FROM entries WHERE seq <= 2").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        let found = folder.check().await;
        assert!(matches!(found, Err(Broken::Removal { seq: 5, .. } | Broken::Gap { .. })), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn what_an_earlier_idgate_removed_is_sealed_once_and_said_to_be_unchecked() {
    let (folder, seals) = with_four_answers("adopted").await;
    folder.as_of(4).await;
    let mut other = folder.connection().await;
    sqlx::raw_sql("DELETE FROM entries WHERE seq <= 2").execute(&mut other).await.unwrap();
    let row = sqlx::query("INSERT INTO removed VALUES (2, $1)").bind(seals[1].0.to_vec());
    row.execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    for _ in 0..2 {
        folder.open().await.close().await;
    }
    assert_eq!(folder.entries().await, ["3 answer no_record", "4 answer match", "5 adopted up to 2"]);
    let checked = folder.check().await.unwrap();
    assert_eq!((checked.removed_up_to, checked.is_adopted, checked.entries), (2, true, 3));
}

#[tokio::test]
async fn a_start_with_the_clock_401_days_ahead_removes_nothing_until_an_operator_confirms() {
    let folder = Folder::new("ahead");
    let now = Arc::new(AtomicI64::new(0));
    let moved = Arc::clone(&now);
    let clock = Clock::new(move || Timestamp::from_millisecond(moved.load(Ordering::SeqCst)).unwrap());
    let run = async |day: i64| {
        now.store(day * DAY, Ordering::SeqCst);
        let ledger = folder.try_open(&clock).await.unwrap();
        ledger.write(answer("match").borrowed(), Flight::NONE).await.unwrap();
        ledger.close().await;
        let open = ledger.0.as_ref().unwrap();
        (folder.entries().await.len(), open.queue.shared.meter.is_removal_held())
    };
    assert_eq!(run(0).await, (1, false));
    // A start may look before or after its entry is moved, so the second one shows what holds.
    assert_eq!(run(401).await.0, 2);
    assert_eq!(run(401).await, (3, true));
    assert_eq!(run(1).await.0, 4);
    assert_eq!(run(1).await, (5, false), "the clock is right again");
    assert_eq!(run(401).await.0, 6);
    assert_eq!(run(401).await, (7, true));
    let both = Times { newest_ms: 401 * DAY, believed_ms: Some(DAY) };
    assert_eq!(confirm_time(&folder.file()).await.unwrap(), Some(both));
    assert_eq!(run(408).await, (8, false), "the first is gone; another has come, and an entry about the removal");
    assert_eq!(run(408).await, (9, false), "a week between two entries needs nobody");
}

#[test]
fn a_time_to_keep_must_be_a_day_at_least_and_of_a_fixed_length() {
    let mistakes = |keep: Span| Config { keep, ..Config::default() }.validate().len();
    assert_eq!(
        (mistakes(Span::new().days(400)), mistakes(Span::new().weeks(4)), mistakes(Span::new().hours(24))),
        (0, 0, 0)
    );
    assert_eq!(
        (mistakes(Span::new().hours(23)), mistakes(Span::new().months(1)), mistakes(Span::new().days(-400))),
        (1, 1, 1)
    );
}
