//! Issue 13, line 30: two processes on one file, files that are moved away, and damage at the start.

use std::os::unix::fs::symlink;

use super::super::start_check::{self, Covered};
use super::*;

async fn with_answers(name: &str, count: usize) -> Folder {
    let folder = Folder::new(name);
    let ledger = folder.open().await;
    for _ in 0..count {
        ask(&ledger).await.unwrap();
    }
    ledger.close().await;
    folder
}

#[tokio::test]
async fn one_ledger_is_opened_once_through_a_symbolic_or_a_hard_link_too() {
    let folder = Folder::new("links");
    let config = |file: PathBuf, spools: Option<PathBuf>| Config {
        file: Some(file),
        spool_folder: spools,
        keep: Span::new().days(400),
        ..Config::default()
    };
    let refused = async |config: Config| {
        let opened = Ledger::open(&config, Clock::fixed(Timestamp::UNIX_EPOCH), ids()).await;
        opened.err().unwrap_or_else(|| panic!("{config:?} is opened"))
    };
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let (other, hard) = (folder.0.join("other.db"), folder.0.join("hard.db"));
    symlink(folder.file(), &other).unwrap();
    assert!(matches!(refused(config(other, None)).await, OpenError::InUse(_)));
    std::fs::hard_link(folder.file(), &hard).unwrap();
    assert!(matches!(refused(config(hard.clone(), None)).await, OpenError::InUse(_)));
    ledger.close().await;
    drop(ledger);
    assert!(
        matches!(refused(config(hard.clone(), None)).await, OpenError::Linked(_)),
        "its write-ahead log has another name"
    );
    std::fs::remove_file(hard).unwrap();
    // Two databases of one name, and one folder for their spools.
    let ledger = folder.open().await;
    let far = folder.0.join("far");
    std::fs::create_dir(&far).unwrap();
    let shared = config(far.join("ledger.db"), Some(folder.0.clone()));
    assert!(matches!(refused(shared).await, OpenError::SpoolInUse(_)));
    ledger.close().await;
}

#[tokio::test]
async fn a_ledger_that_is_moved_or_deleted_while_it_runs_refuses_paid_calls_until_it_is_back() {
    let folder = Folder::new("moved");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    let available = async |is: bool| {
        let began = tokio::time::Instant::now();
        while ledger.begin(begun).is_ok() != is {
            assert!(began.elapsed() < Duration::from_secs(30), "available: {is}");
            tokio::task::yield_now().await;
        }
    };
    let away = folder.0.join("away");
    for name in ["ledger.db", "ledger.db-wal", "ledger.spool", "ledger.spool-2", "ledger.begun"] {
        let path = folder.0.join(name);
        let flight = ledger.begin(begun).unwrap();
        let calling = flight.call("one", "one.example", 300_000).await.unwrap();
        std::fs::rename(&path, &away).unwrap();
        available(false).await;
        assert_eq!(ledger.unavailable_reason(), Some(Unavailable::FilesMoved), "{name}");
        calling.ended(verdict);
        assert_eq!(
            ledger.write(answer("match").borrowed(), flight).await,
            Err(NotWritten),
            "{name}: a lost answer is not told"
        );
        // Another file in its place is not the same one.
        std::fs::write(&path, "").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(ledger.begin(begun).is_err(), "{name}");
        std::fs::rename(&away, &path).unwrap();
        available(true).await;
        ask(&ledger).await.unwrap();
    }
    let second = folder.0.join("second.db");
    std::fs::hard_link(folder.file(), &second).unwrap();
    available(false).await;
    std::fs::remove_file(second).unwrap();
    available(true).await;
    ledger.close().await;
    drop(ledger);
    let entries = folder.entries().await;
    assert_eq!(entries.iter().filter(|entry| entry.contains("verdict")).count(), 11, "{entries:?}");
    assert!(folder.check().await.is_ok());
}

/// A deleted spool has entries that were told; the open file still has them.
#[tokio::test]
async fn entries_of_a_deleted_spool_reach_the_database() {
    let folder = Folder::new("unlinked");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    for name in ["ledger.spool", "ledger.spool-2"] {
        std::fs::remove_file(folder.0.join(name)).unwrap();
    }
    ledger.close().await;
    assert_eq!(folder.entries().await, ["1 call verdict yes", "2 answer match"]);
}

#[tokio::test]
async fn a_damaged_page_at_the_start_does_not_start() {
    let folder = with_answers("damaged-pages", 300).await;
    let sound = std::fs::read(folder.file()).unwrap();
    let pages = sound.len() / 4096;
    assert!(pages > 50, "{pages} pages");
    let whole = Duration::from_secs(60);
    let mut chance = fastrand::Rng::with_seed(20_261_128);
    for _ in 0..24 {
        let page = chance.usize(1..pages);
        let mut damaged = sound.clone();
        chance.fill(&mut damaged[page * 4096..][..4096]);
        std::fs::write(folder.file(), &damaged).unwrap();
        let told = start_check::check(&folder.file(), whole).await.map_err(|error| error.to_string());
        assert!(told.as_ref().is_err_and(|told| told.contains("it is damaged")), "page {page}: {told:?}");
        let opened = folder.try_open(&Clock::fixed(Timestamp::UNIX_EPOCH)).await;
        assert!(opened.is_err(), "page {page}");
    }
    std::fs::write(folder.file(), &sound).unwrap();
    assert!(start_check::check(&folder.file(), whole).await.unwrap().is_some_and(|covered| covered.is_all()));
    // A few bytes of one entry: no page is broken, but its seal is.
    folder
        .change("UPDATE entries SET body = replace(body, '\"billed\":\"yes\"', '\"billed\":\"no\"') WHERE seq = 301")
        .await;
    assert!(matches!(start_check::check(&folder.file(), whole).await, Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_check_at_the_start_that_is_out_of_time_says_what_it_did_not_check() {
    let folder = with_answers("large", 600).await;
    let covered = start_check::check(&folder.file(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(covered, Covered { from: 201, all_seals: false, pages: false, indexes: false });
    assert!(!covered.is_all());
    folder.open().await.close().await;
    // The entries after that number are checked all the same.
    folder.change("UPDATE entries SET hash = zeroblob(32) WHERE seq = 201").await;
    assert!(start_check::check(&folder.file(), Duration::ZERO).await.is_err());
}
