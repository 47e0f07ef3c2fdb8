//! Checks the database at the start as far as a bounded time allows: the seals of the newest entries first, then its
//! pages, then its indexes. What was not checked is said; `idgate ledger verify` checks all of it.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::Instant;

use super::chain_hash::Seal;
use super::database::{options, sealed};
use super::error::OpenError;

/// How long each of the three parts may take.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

/// How many entries are read at once.
const PAGE: i64 = 1000;
/// How many instructions SQLite runs between two looks at the clock.
const INSTRUCTIONS: i32 = 1000;

/// What a check covered without finding damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    /// The number of the first entry whose seal was checked; all after it were.
    pub(super) from: i64,
    /// Whether that is the first entry of all.
    pub(super) all_seals: bool,
    pub(super) pages: bool,
    pub(super) indexes: bool,
}

impl Covered {
    pub(super) const fn is_all(&self) -> bool {
        self.all_seals && self.pages && self.indexes
    }
}

/// Why a check ended early.
enum Ended {
    Damaged(String),
    /// Its time was over.
    Late,
    Failed(sqlx::Error),
}

/// Checks the database at `path`. `None` if it has no entries yet.
///
/// # Errors
/// If it is damaged, or cannot be read.
pub(super) async fn check(path: &Path, within: Duration) -> Result<Option<Covered>, OpenError> {
    // A connection of its own: what it reads must not stay in the cache of the one that writes.
    let opened = options(path).read_only(true).connect().await;
    let mut connection = opened.map_err(|error| OpenError::database(path, error))?;
    let checked = covered(&mut connection, within).await;
    let _ = connection.close().await;
    checked.map_err(|ended| match ended {
        Ended::Damaged(what) => OpenError::Damaged { path: path.to_owned(), what },
        Ended::Late => OpenError::Damaged { path: path.to_owned(), what: "it cannot be read in time".to_owned() },
        Ended::Failed(error) => OpenError::database(path, error),
    })
}

async fn covered(connection: &mut SqliteConnection, within: Duration) -> Result<Option<Covered>, Ended> {
    let table = sqlx::query("SELECT name FROM sqlite_schema WHERE name = 'entries' AND type = 'table'");
    if table.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(None);
    }
    let seals = seals(connection, Instant::now() + within).await?;
    let mut is_late = false;
    let mut complete = [false; 2];
    for (complete, pragma) in complete.iter_mut().zip(["PRAGMA quick_check(1)", "PRAGMA integrity_check(1)"]) {
        if is_late {
            break;
        }
        *complete = match pages(connection, pragma, Instant::now() + within).await {
            Ok(()) => true,
            Err(Ended::Late) => false,
            Err(ended) => return Err(ended),
        };
        is_late = !*complete;
    }
    let [pages, indexes] = complete;
    Ok(Some(Covered { from: seals.0, all_seals: seals.1, pages, indexes }))
}

/// Checks blocks of seals from the end to the front, until `until`. Returns the number of the first entry that it has
/// checked, and whether that is the first one of all. The first block is checked in any case.
async fn seals(connection: &mut SqliteConnection, until: Instant) -> Result<(i64, bool), Ended> {
    let ends =
        sqlx::query("SELECT min(seq) AS first, max(seq) AS last FROM entries").fetch_one(&mut *connection).await?;
    let (Some(first), Some(last)) = (ends.try_get::<Option<i64>, _>("first")?, ends.try_get::<Option<i64>, _>("last")?)
    else {
        return Ok((0, true));
    };
    let mut end = last;
    loop {
        // The entry before the block, whose own seal the next block checks.
        let before = end - PAGE;
        let rows = sqlx::query("SELECT seq, body, hash FROM entries WHERE seq >= $1 AND seq <= $2 ORDER BY seq");
        let rows = rows.bind(before).bind(end).fetch_all(&mut *connection).await?;
        let mut known = (before < 1).then_some((0, Seal::NONE)).filter(|_| first == 1);
        for row in &rows {
            let (seq, seal) =
                sealed(row).map_err(|error| Ended::Damaged(format!("near entry number {end}: {error}")))?;
            // Of the first entry after a removal, only `ledger verify` knows what came before.
            if let Some((number, before)) = known {
                if seq != number + 1 {
                    return Err(Ended::Damaged(format!(
                        "entries are missing between number {number} and number {seq}"
                    )));
                }
                if before.next(seq, row.try_get("body")?) != seal {
                    return Err(Ended::Damaged(format!(
                        "entry number {seq} was changed or moved, or one before it was"
                    )));
                }
            } else if seq != before.max(first) {
                return Err(Ended::Damaged(format!("entries are missing before number {seq}")));
            }
            known = Some((seq, seal));
        }
        if known.is_none_or(|(number, _)| number != end) {
            return Err(Ended::Damaged(format!("entries are missing up to number {end}")));
        }
        if before < 1 || (before <= first && first > 1) {
            return Ok((first, true));
        }
        if Instant::now() >= until {
            return Ok((before + 1, false));
        }
        end = before;
    }
}

async fn pages(connection: &mut SqliteConnection, pragma: &'static str, until: Instant) -> Result<(), Ended> {
    connection.lock_handle().await?.set_progress_handler(INSTRUCTIONS, move || Instant::now() < until);
    let told = sqlx::query(pragma).fetch_one(&mut *connection).await;
    connection.lock_handle().await?.remove_progress_handler();
    let told: String = told?.try_get(0)?;
    if told == "ok" { Ok(()) } else { Err(Ended::Damaged(told)) }
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match code.map(|code| code & 0xff) {
            // Interrupted.
            Some(9) => Self::Late,
            // Corrupt, or no database at all.
            Some(11 | 26) => Self::Damaged(error.to_string()),
            _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error),
        }
    }
}
