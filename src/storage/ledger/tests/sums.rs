//! Issue 13, line 3: a start read all calls. It reads sums, which grow with days, clients and providers only.

use std::sync::atomic::AtomicUsize;

use super::super::spent::{counted, spent};
use super::super::sums;
use super::*;

/// `count` calls, some refused because the quota was used up, on three days, of two clients.
fn calls(count: usize) -> Vec<Entry> {
    let mut chance = fastrand::Rng::with_seed(20_261_128);
    let call = |at: usize| {
        let begun = begun(ids().nonce(), 0);
        let call = BegunCall {
            id: ids().ordered(),
            flight: begun.flight,
            at_ms: 0,
            provider: chance.choice(["one", "two"]).unwrap().to_owned(),
            endpoint: "one.example".to_owned(),
            price_micro_yuan: 300_000,
        };
        let mut end = verdict();
        match chance.u8(..20) {
            0 => (end.outcome, end.billed) = ("unreachable".to_owned(), "no".to_owned()),
            1 => (end.outcome, end.billed) = ("timeout".to_owned(), "unknown".to_owned()),
            2 => {
                (end.outcome, end.billed) = ("account_fault".to_owned(), "no".to_owned());
                end.reason = Some("quota_used_up".to_owned());
            }
            _ => {}
        }
        let day = i64::try_from(at * 3 / count).unwrap();
        let mut call = begun.call(&call, day * DAY + i64::try_from(at).unwrap(), end);
        call.client = ["payout", "bulk"][at % 2].to_owned();
        Entry::Call(call)
    };
    (0..count).map(call).collect()
}

/// What a start reads, in a form that can be compared.
async fn opening(folder: &Folder) -> (Vec<Spent>, Vec<(i64, String, u64, bool)>) {
    let reader = Reader::open(&folder.file()).await.unwrap();
    let spent = spent(&reader, sums::start_of(0), sums::start_of(2)).await.unwrap();
    let mut all: Vec<(i64, String, u64, bool)> = Vec::new();
    let each = |one: Counted<'_>| {
        let one = (sums::day_of(one.at_ms), one.provider.to_owned(), one.calls, one.is_billed);
        match all.iter_mut().rfind(|last| last.1 == one.1) {
            Some(last) if (last.0, last.3, one.3) == (one.0, true, true) => last.2 += one.2,
            _ => all.push(one),
        }
    };
    counted(&reader, (sums::start_of(0), i64::MAX), "quota_used_up", each).await.unwrap();
    // After the first refusal of a day, the order of the others does not matter.
    let mut first = std::collections::BTreeMap::<(String, i64, bool), u64>::new();
    let mut used_up = std::collections::BTreeSet::new();
    for (day, provider, calls, is_billed) in all {
        if is_billed {
            *first.entry((provider.clone(), day, used_up.contains(&(provider, day)))).or_default() += calls;
        } else {
            used_up.insert((provider, day));
        }
    }
    let all = first.into_iter().map(|((provider, day, used_up), calls)| (day, provider, calls, used_up)).collect();
    (spent, all)
}

async fn with_calls(name: &str, count: usize) -> Folder {
    let folder = Folder::new(name);
    folder.open().await.close().await;
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    for part in calls(count).chunks(700) {
        store.append_entries(part).await.unwrap();
        // An entry that is there already changes nothing.
        store.append_entries(&part[..1]).await.unwrap();
    }
    store.close().await;
    folder
}

#[tokio::test]
async fn what_a_start_reads_does_not_grow_with_the_calls() {
    let mut instructions = Vec::new();
    for count in [300, 3000] {
        let folder = with_calls(&format!("sums-{count}"), count).await;
        let mut connection = folder.connection().await;
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ran);
        let count = move || counter.fetch_add(1, Ordering::Relaxed) < usize::MAX;
        connection.lock_handle().await.unwrap().set_progress_handler(1, count);
        super::super::spent::read_at_start(&mut connection).await.unwrap();
        instructions.push(ran.load(Ordering::Relaxed));
    }
    assert!(instructions[0] > 100 && instructions[0].abs_diff(instructions[1]) < 100, "{instructions:?}");
}

#[tokio::test]
async fn a_file_of_an_earlier_idgate_is_summed_step_by_step_and_reads_the_same_meanwhile() {
    let folder = with_calls("sums-earlier", 5000).await;
    let (spent, counted) = opening(&folder).await;
    assert_eq!((spent.len(), counted.is_empty()), (4, false));
    let whole: u64 = spent.iter().map(|one| one.calls).sum();
    assert!(whole > 4000 && spent.iter().all(|one| one.calls_today < one.calls), "{spent:?}");
    folder.change("DROP TABLE spent_by_day; DROP TABLE summed; DELETE FROM _sqlx_migrations WHERE version = 7").await;
    let providers = Reader::open(&folder.file()).await.unwrap().providers().await.unwrap();
    assert_eq!(providers, ["one", "two"]);
    assert!(folder.check().await.is_ok(), "without sums");
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    let mut steps = 0;
    loop {
        assert_eq!(opening(&folder).await, (spent.clone(), counted.clone()), "after {steps} steps");
        assert_eq!(Reader::open(&folder.file()).await.unwrap().providers().await.unwrap(), providers);
        assert!(folder.check().await.is_ok());
        steps += 1;
        if !store.catch_up(2000).await.unwrap() {
            break;
        }
    }
    assert_eq!(steps, 3);
    store.close().await;
    assert_eq!(opening(&folder).await, (spent, counted));
    // The ledger does the same by itself.
    folder.change("DELETE FROM spent_by_day; DELETE FROM summed").await;
    let ledger = folder.open().await;
    let mut connection = folder.connection().await;
    while sums::summed(&mut connection).await.unwrap() < 5000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ledger.close().await;
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn sums_that_are_not_those_of_the_calls_are_found() {
    let folder = with_calls("sums-wrong", 300).await;
    assert!(folder.check().await.is_ok());
    for change in [
        "UPDATE spent_by_day SET calls = calls - 1 WHERE day = 1 AND provider = 'one' AND client = 'bulk'",
        "DELETE FROM spent_by_day WHERE day = 1 AND provider = 'one' AND client = 'bulk'",
    ] {
        folder.change(change).await;
        let told = folder.check().await;
        let wrong =
            Broken::Sums { day: "1970-01-02".to_owned(), provider: "one".to_owned(), client: "bulk".to_owned() };
        assert_eq!(told, Err(wrong), "{change}");
    }
}

#[tokio::test]
async fn sums_of_removed_days_go_and_the_others_stay_right() {
    let folder = with_calls("sums-removed", 300).await;
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    // The first day and half of the second.
    assert_eq!(store.remove_old(DAY + 150 + DAY, DAY, 1000).await.unwrap(), 150);
    store.append_entries(&calls(10)).await.unwrap();
    store.close().await;
    let mut connection = folder.connection().await;
    let days: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT day FROM spent_by_day ORDER BY day")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(days, [0, 1, 2], "calls of an earlier day may come late");
    assert_eq!(sums::summed(&mut connection).await.unwrap(), 311);
    drop(connection);
    let told = folder.check().await;
    assert!(!matches!(told, Err(Broken::Sums { .. })), "{told:?}");
}
