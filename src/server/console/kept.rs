//! What a form led to, kept in memory until its page has been read: a browser keeps the body of a form that a page
//! answers, so a form about a person is answered with the address of a page instead.
//!
//! Invariants: the address is random and says nothing; only the session that sent the form finds it; it ends by itself,
//! whether or not anybody comes back, and at sign-out; a session has few, and so has the process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::server::auth::sessions::{Session, Sessions};

/// How long something is kept.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// The most of one session; one more ends its oldest.
const MOST_OF_ONE: usize = 8;
/// The most of all sessions; one more ends the oldest.
const MOST: usize = 1024;

/// What the page of a result says that has ended, or is another session's.
pub(super) const NO_LONGER_KEPT: &str = "This result is no longer kept; ask again.";

/// What is kept for the sessions.
pub(super) struct Kept<T> {
    sessions: Arc<Sessions>,
    all: Arc<Mutex<All<T>>>,
}

/// In the order in which they end.
struct All<T> {
    items: VecDeque<Item<T>>,
    /// Waits for the end of the first item, while there is one. Ends with `Kept`.
    sweeper: JoinSet<()>,
    is_swept: bool,
}

struct Item<T> {
    session: [u8; 32],
    id: String,
    end: Instant,
    value: Arc<T>,
}

impl<T: Send + Sync + 'static> Kept<T> {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        let all = All { items: VecDeque::new(), sweeper: JoinSet::new(), is_swept: false };
        Self { sessions, all: Arc::new(Mutex::new(all)) }
    }

    /// Keeps this for the session, and returns its id.
    pub(super) fn keep(&self, session: &Session, value: T) -> String {
        let (id, session) = (self.sessions.word(), session.key());
        let item = Item { session, id: id.clone(), end: Instant::now() + LIFETIME, value: Arc::new(value) };
        let mut all = lock(&self.all);
        let of_one = all.items.iter().filter(|one| one.session == session).count();
        if of_one >= MOST_OF_ONE {
            let oldest = all.items.iter().position(|one| one.session == session);
            oldest.map(|place| all.items.remove(place));
        }
        if all.items.len() >= MOST {
            all.items.pop_front();
        }
        all.items.push_back(item);
        if !std::mem::replace(&mut all.is_swept, true) {
            while all.sweeper.try_join_next().is_some() {}
            all.sweeper.spawn(sweep(Arc::downgrade(&self.all)));
        }
        id
    }

    /// What was kept for this session under this id.
    pub(super) fn find(&self, session: &Session, id: &str) -> Option<Arc<T>> {
        let (now, session) = (Instant::now(), session.key());
        let all = lock(&self.all);
        let mut of_one = all.items.iter().filter(|one| one.session == session && one.end > now);
        of_one.find(|one| one.id.as_bytes().ct_eq(id.as_bytes()).into()).map(|one| Arc::clone(&one.value))
    }

    /// Ends all that was kept for this session.
    pub(super) fn end(&self, session: &Session) {
        let session = session.key();
        lock(&self.all).items.retain(|one| one.session != session);
    }
}

impl<T> All<T> {
    /// Ends what is due. Returns when the next is, if there is one.
    fn sweep(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while self.items.front().is_some_and(|one| one.end <= now) {
            self.items.pop_front();
        }
        let next = self.items.front().map(|one| one.end);
        self.is_swept = next.is_some();
        next
    }
}

/// A person must not stay in memory because nobody asks again.
async fn sweep<T>(all: Weak<Mutex<All<T>>>) {
    while let Some(next) = all.upgrade().and_then(|all| lock(&all).sweep()) {
        sleep_until(next).await;
    }
}

fn lock<T>(all: &Mutex<All<T>>) -> MutexGuard<'_, All<T>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", lock(&self.all).items.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use http::{Extensions, HeaderMap, header};
    use jiff::Timestamp;

    use super::*;
    use crate::domain::clock::Ids;
    use crate::domain::personal::Personal;
    use crate::server::auth::operators::Operators;
    use crate::server::auth::sessions::{COOKIE, Proof};

    fn random() -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)))
    }

    fn kept() -> Kept<Personal> {
        Kept::new(Arc::new(Sessions::new(Duration::from_secs(86_400), Ids::new(random, random))))
    }

    fn session(sessions: &Sessions) -> Session {
        let operators = Operators::new(&BTreeMap::new());
        let cookie = sessions.begin(operators.local().unwrap(), Proof::Local).unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, format!("{COOKIE}={cookie}").parse().unwrap())]);
        sessions.find(&headers, &Extensions::new(), &operators, Timestamp::UNIX_EPOCH).unwrap().0
    }

    fn count(kept: &Kept<Personal>) -> usize {
        lock(&kept.all).items.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_questions_of_a_session_keep_its_last_ones_and_nobody_elses() {
        let kept = kept();
        let (one, other) = (session(&kept.sessions), session(&kept.sessions));
        let of_other = kept.keep(&other, Personal::new("王五"));
        let ids: Vec<_> = (0..1000).map(|n| kept.keep(&one, Personal::new(format!("张三 {n}")))).collect();
        assert_eq!(count(&kept), MOST_OF_ONE + 1);
        let found: Vec<_> = ids.iter().filter_map(|id| kept.find(&one, id)).collect();
        assert_eq!(found.len(), MOST_OF_ONE);
        assert_eq!(found.last().unwrap().expose(), "张三 999");
        assert!(kept.find(&other, ids.last().unwrap()).is_none(), "of another session");
        assert_eq!(kept.find(&other, &of_other).unwrap().expose(), "王五");
        kept.end(&one);
        assert_eq!(count(&kept), 1);
        for _ in 0..MOST {
            kept.keep(&session(&kept.sessions), Personal::new("李四"));
        }
        assert_eq!(count(&kept), MOST);
        assert_eq!(lock(&kept.all).sweeper.len(), 1, "one task waits for all of them");
        assert_eq!(format!("{kept:?}"), "Kept(1024)");
    }

    #[tokio::test]
    async fn an_id_says_nothing() {
        let kept = kept();
        let one = session(&kept.sessions);
        let ids: HashSet<_> = (0..1000).map(|_| kept.keep(&one, Personal::new("张三"))).collect();
        assert_eq!(ids.len(), 1000, "the same person has another each time");
        assert!(ids.iter().all(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(kept.find(&one, "").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_itself_though_nobody_comes_back() {
        let kept = kept();
        let one = session(&kept.sessions);
        let first = kept.keep(&one, Personal::new("张三"));
        let held = Arc::downgrade(&kept.find(&one, &first).unwrap());
        tokio::time::sleep(LIFETIME / 2).await;
        let second = kept.keep(&one, Personal::new("李四"));
        assert!(kept.find(&one, &first).is_some());
        tokio::time::sleep(LIFETIME / 2 + Duration::from_millis(10)).await;
        assert!(held.upgrade().is_none(), "it is wiped, not only hidden");
        assert!(kept.find(&one, &first).is_none() && kept.find(&one, &second).is_some());
        tokio::time::sleep(LIFETIME).await;
        assert_eq!(count(&kept), 0);
        let third = kept.keep(&one, Personal::new("赵六"));
        tokio::time::sleep(LIFETIME + Duration::from_millis(10)).await;
        assert!(kept.find(&one, &third).is_none() && count(&kept) == 0, "it is swept again after a pause");
    }
}
