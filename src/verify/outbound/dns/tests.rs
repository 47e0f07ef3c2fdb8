use std::collections::VecDeque;
use std::sync::Condvar;

use super::*;

/// A name server that gives scripted answers in order and can be made to block.
#[derive(Debug, Default)]
struct Told {
    state: Mutex<(VecDeque<Option<IpAddr>>, usize, bool)>,
    moved: Condvar,
}

impl Told {
    fn answering(answers: &[Option<&str>]) -> Arc<Self> {
        let told = Self::default();
        told.state.lock().unwrap().0 = answers.iter().map(|text| text.map(|text| text.parse().unwrap())).collect();
        Arc::new(told)
    }

    fn hold(&self, held: bool) {
        self.state.lock().unwrap().2 = held;
        self.moved.notify_all();
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

impl LookUp for Told {
    fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        let mut state = self.moved.wait_while(state, |(_, _, held)| *held).unwrap();
        match state.0.pop_front().flatten() {
            Some(address) => Ok(vec![address]),
            None => Err(io::Error::other("no such name")),
        }
    }
}

fn names(told: &Arc<Told>) -> Arc<Names> {
    let names = Names::new(Arc::clone(told) as Arc<dyn LookUp>, &Registry::new()).unwrap();
    names.keep_for(Config { fresh: Duration::from_secs(30), stale: Duration::from_secs(600) });
    Arc::new(names)
}

async fn ask(names: &Arc<Names>) -> Option<String> {
    names.resolve("provider.test").await.ok().map(|found| found[0].to_string())
}

fn counted(names: &Names) -> [u64; 4] {
    let Meter { fresh, cached, stale, failed } = &names.meter;
    [fresh, cached, stale, failed].map(IntCounter::get)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_while_it_is_fresh_and_then_asked_for_again() {
    let told = Told::answering(&[Some("127.0.0.1"), Some("127.0.0.2")]);
    let names = names(&told);
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    assert_eq!(told.asked(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.2"));
    assert_eq!(counted(&names), [2, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_stands_in_for_a_failure_until_it_is_too_old() {
    let told = Told::answering(&[Some("127.0.0.1"), None, None, None]);
    let names = names(&told);
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    // Soon after a failure there is no further look-up.
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    assert_eq!(told.asked(), 2);
    assert_eq!(counted(&names), [1, 0, 2, 0]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&names).await, None);
    assert_eq!(counted(&names), [1, 0, 2, 1]);
}

#[tokio::test]
async fn an_old_answer_stands_in_for_a_slow_one_which_still_comes_home() {
    let told = Told::answering(&[Some("127.0.0.1"), Some("127.0.0.2")]);
    let names = names(&told);
    names.keep_for(Config { fresh: Duration::ZERO, stale: Duration::from_secs(600) });
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    told.hold(true);
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.1"));
    let landing = names.lock().place("provider.test").under_way.clone().expect("the slow one goes on");
    told.hold(false);
    landing.wait().await.clone().unwrap();
    names.keep_for(Config { fresh: Duration::from_secs(30), stale: Duration::from_secs(600) });
    assert_eq!(ask(&names).await.as_deref(), Some("127.0.0.2"));
    assert_eq!(told.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_are_one_look_up() {
    let told = Told::answering(&[Some("127.0.0.1")]);
    let names = names(&told);
    told.hold(true);
    let release = async {
        tokio::task::yield_now().await;
        told.hold(false);
    };
    let all = futures_util::future::join_all((0..50).map(|_| ask(&names)));
    let (all, ()) = tokio::join!(all, release);
    assert!(all.iter().all(|one| one.as_deref() == Some("127.0.0.1")), "{all:?}");
    assert_eq!(told.asked(), 1);
}

#[tokio::test]
async fn the_table_is_bounded() {
    let answers = vec![Some("127.0.0.1"); MOST_NAMES + 10];
    let told = Told::answering(&answers);
    let names = names(&told);
    for n in 0..MOST_NAMES + 10 {
        names.resolve(&format!("host-{n}.test")).await.unwrap();
    }
    assert_eq!(names.lock().hosts.len(), MOST_NAMES);
}

#[tokio::test]
async fn a_client_of_one_family_gets_addresses_of_that_family() {
    let told = Told::answering(&[Some("127.0.0.1")]);
    let names = names(&told);
    for (family, has_any) in [(Family::Dual, true), (Family::V4, true), (Family::V6, false)] {
        let resolver = Resolver { names: Arc::clone(&names), family };
        assert_eq!(resolver.addresses("provider.test").await.is_ok(), has_any, "{family:?}");
    }
}
