//! Idempotency keys as the ledger knows them. A key is claimed before any provider is called, the claim is finished by
//! an answer with a verdict, and it ends when its person is forgotten.
//!
//! Invariant: a claim holds once it is on the disk, in the database or in the spool. Database queries do not see the
//! spool, so [`Spooled`] holds its entries in memory until they have moved. The order of entries decides, never a
//! clock: a `Forgotten` entry ends the claims before it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::Row;
use uuid::Uuid;

use super::database::entry;
use super::entry::{Answer, Claim, Entry, Subject};
use super::queries::{Reader, found};
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// A claimed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub claim: Claim,
    /// The answer whose verdict finished the claim, if any.
    pub answer: Option<Answer>,
    /// Whether another replica is answering it.
    pub is_elsewhere: bool,
    /// How often it has changed hands between replicas.
    pub term: i32,
}

/// The spool's entries about keys.
#[derive(Debug, Default)]
pub(super) struct Spooled(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// How many entries about keys the spool has taken.
    taken: u64,
    /// How many of them have moved into the database.
    moved_up_to: u64,
    /// How often entries have moved; a lookup compares it to notice a move in between.
    moved: u64,
    claims: HashMap<String, (u64, Claim)>,
    answers: HashMap<Uuid, (u64, Answer)>,
    forgotten: HashMap<String, u64>,
    /// Where each of them is, in the order in which they were taken.
    order: VecDeque<(u64, Place)>,
}

#[derive(Debug)]
enum Place {
    Claim(String),
    Answer(Uuid),
    Forgotten(String),
}

/// What the spool knows of a key.
enum Known {
    /// Its last claim, and whether that still holds.
    Claim(Box<Claim>, bool),
    Nothing,
}

/// Looks up the claim on a key, in the spool first and then in the database.
pub(super) async fn claimed(
    reader: &Reader,
    spooled: &Spooled,
    key: &Digest,
    not_before_ms: i64,
) -> Result<Option<Claimed>, sqlx::Error> {
    let key = key.to_hex();
    loop {
        let (moved, known) = spooled.claim(&key);
        let (claim, holds) = match known {
            Known::Claim(claim, holds) => (Some(*claim), holds),
            Known::Nothing => match last_claim(reader, &key).await? {
                Some((claim, holds)) => {
                    let holds = holds && !spooled.has_forgotten(&claim.subject);
                    (Some(claim), holds)
                }
                None => (None, false),
            },
        };
        let claim = claim.filter(|claim| holds && claim.at_ms >= not_before_ms);
        let claimed = match claim {
            Some(claim) => {
                let answer = finished(reader, claim.id).await?.or_else(|| spooled.answer(claim.id));
                Some(Claimed { claim, answer, is_elsewhere: false, term: 0 })
            }
            None => None,
        };
        // Entries that moved in between may have been missed in both places, so look again.
        if spooled.lock().moved == moved {
            return Ok(claimed);
        }
    }
}

/// The last claim on a key, and whether it still holds: its person has not been forgotten since.
async fn last_claim(reader: &Reader, key: &str) -> Result<Option<(Claim, bool)>, sqlx::Error> {
    let text = "SELECT seq, body FROM entries WHERE kind = 'claim' AND claimed_key = $1 ORDER BY seq DESC LIMIT 1";
    let Some(row) = sqlx::query(text).bind(key).fetch_optional(reader.keys()).await? else { return Ok(None) };
    let Entry::Claim(claim) = entry(&row)? else {
        return Err(sqlx::Error::Decode("something else where a claim was looked for".into()));
    };
    let text = "SELECT seq FROM entries WHERE kind = 'forgotten' AND subject = $1 AND seq > $2 LIMIT 1";
    let later = sqlx::query(text).bind(&claim.subject.digest).bind(row.try_get::<i64, _>("seq")?);
    let holds = later.fetch_optional(reader.keys()).await?.is_none();
    Ok(Some((claim, holds)))
}

/// The first answer with a verdict for a claim.
async fn finished(reader: &Reader, claim: Uuid) -> Result<Option<Answer>, sqlx::Error> {
    let [one, two, three] = Verdict::ALL.map(Verdict::as_str);
    let text = "SELECT seq, body FROM entries WHERE claim = $1 AND outcome IN ($2, $3, $4) ORDER BY seq LIMIT 1";
    let query = sqlx::query(text).bind(claim.to_string()).bind(one).bind(two).bind(three);
    Ok(query.fetch_optional(reader.keys()).await?.as_ref().map(found).transpose()?.map(|found| found.answer))
}

/// How many keys were claimed for this person at `not_before_ms` or later and since the person was last forgotten.
pub(super) async fn claims_about(reader: &Reader, subject: &Subject, not_before_ms: i64) -> Result<usize, sqlx::Error> {
    let text = "SELECT count(DISTINCT claimed_key) AS n FROM entries \
                WHERE kind = 'claim' AND subject = $1 AND at_ms >= $2 AND seq > coalesce(\
                (SELECT max(seq) FROM entries WHERE kind = 'forgotten' AND subject = $1), 0)";
    let row = sqlx::query(text).bind(&subject.digest).bind(not_before_ms).fetch_one(reader.keys()).await?;
    Ok(usize::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default())
}

impl Spooled {
    /// Records entries that the spool has taken.
    pub(super) fn take<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        let mut all = self.lock();
        for entry in entries {
            all.taken += 1;
            let number = all.taken;
            let place = match entry {
                Entry::Claim(claim) => {
                    all.claims.insert(claim.key.clone(), (number, claim.clone()));
                    Place::Claim(claim.key.clone())
                }
                Entry::Forgotten(forgotten) => {
                    all.forgotten.insert(forgotten.subject.digest.clone(), number);
                    Place::Forgotten(forgotten.subject.digest.clone())
                }
                Entry::Answer(answer @ Answer { claim: Some(claim), source: Some(_), .. }) => {
                    all.answers.entry(*claim).or_insert_with(|| (number, answer.clone()));
                    Place::Answer(*claim)
                }
                Entry::Answer(_) | Entry::Call(_) | Entry::Removed(_) | Entry::Operation(_) => continue,
            };
            all.order.push_back((number, place));
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Drops the first `number` entries, which are in the database now.
    pub(super) fn moved(&self, number: u64) {
        let mut all = self.lock();
        if number <= all.moved_up_to {
            return;
        }
        (all.moved, all.moved_up_to) = (all.moved + 1, number);
        while let Some((_, place)) = all.order.pop_front_if(|(of, _)| *of <= number) {
            // A later one may have taken its place.
            match place {
                Place::Claim(key) if all.claims.get(&key).is_some_and(|(of, _)| *of <= number) => {
                    all.claims.remove(&key);
                }
                Place::Answer(claim) if all.answers.get(&claim).is_some_and(|(of, _)| *of <= number) => {
                    all.answers.remove(&claim);
                }
                Place::Forgotten(digest) if all.forgotten.get(&digest).is_some_and(|of| *of <= number) => {
                    all.forgotten.remove(&digest);
                }
                Place::Claim(_) | Place::Answer(_) | Place::Forgotten(_) => {}
            }
        }
    }

    /// The number of moves so far, and what the spool knows of the key.
    fn claim(&self, key: &str) -> (u64, Known) {
        let all = self.lock();
        let known = all.claims.get(key).map_or(Known::Nothing, |(number, claim)| {
            let is_forgotten = all.forgotten.get(&claim.subject.digest).is_some_and(|later| later > number);
            Known::Claim(Box::new(claim.clone()), !is_forgotten)
        });
        (all.moved, known)
    }

    fn has_forgotten(&self, subject: &Subject) -> bool {
        self.lock().forgotten.contains_key(&subject.digest)
    }

    fn answer(&self, claim: Uuid) -> Option<Answer> {
        self.lock().answers.get(&claim).map(|(_, answer)| answer.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No code that holds the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
