//! What is sent without anybody waiting for it: many commands at a time, and landings again until they are answered.
//!
//! Anything else is a hint, or is written again by whoever wrote it. A landing that is lost would have other replicas wait
//! for a call that has ended; one that comes twice does nothing.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::script::Command;

/// How many commands may wait; more are dropped.
const MOST: usize = 4096;

/// How many are sent at a time, and how many landings are kept.
const AT_ONCE: usize = 512;

/// How soon landings are sent again, and for how long: shorter than Redis refuses what lands about somebody who was
/// forgotten.
const AGAIN: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How long commands for which nobody waits are collected, to share a round trip.
const COLLECT: Duration = Duration::from_millis(5);

/// What is done with the answer; `None`: there was none.
type Then = Box<dyn FnOnce(Option<Value>) + Send>;

/// A command on its way.
pub(super) struct Item {
    command: Command,
    cmd: Cmd,
    then: Option<Then>,
}

/// The commands that wait, for the one task that sends them.
#[derive(Debug)]
pub(super) struct Behind {
    waiting: mpsc::Receiver<Item>,
    /// What was sent last, or is collected to be sent next.
    batch: Vec<Item>,
    /// Landings of the last batch, until it is answered.
    landings: Vec<Cmd>,
    /// Since when landings have not been answered.
    since: Instant,
}

/// An empty queue: where commands are put, and where they are taken from.
pub(super) fn queue() -> (mpsc::Sender<Item>, Behind) {
    let (sender, waiting) = mpsc::channel(MOST);
    (sender, Behind { waiting, batch: Vec::new(), landings: Vec::new(), since: Instant::now() })
}

impl Item {
    pub(super) fn new(command: Command, cmd: Cmd, then: Option<Then>) -> Self {
        Self { command, cmd, then }
    }

    pub(super) const fn command(&self) -> Command {
        self.command
    }

    pub(super) fn answer(self, answer: Option<Value>) {
        if let Some(then) = self.then {
            then(answer);
        }
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Item").field(&self.command).finish()
    }
}

impl Behind {
    /// What to send next; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Pipeline> {
        if self.landings.is_empty() {
            if self.waiting.recv_many(&mut self.batch, AT_ONCE).await == 0 {
                return None;
            }
            self.since = Instant::now();
            let until = self.since + COLLECT;
            while self.batch.len() < AT_ONCE && self.batch.iter().all(|item| item.command.can_wait()) {
                let more = timeout_at(until, self.waiting.recv_many(&mut self.batch, AT_ONCE)).await;
                if more.is_err() || self.waiting.is_closed() {
                    break;
                }
            }
        } else {
            let _ = timeout(AGAIN, self.waiting.recv_many(&mut self.batch, AT_ONCE)).await;
        }
        self.batch.extend(self.landings.drain(..).map(|cmd| Item::new(Command::Land, cmd, None)));
        let landing = |item: &Item| (item.command == Command::Land).then(|| item.cmd.clone());
        self.landings.extend(self.batch.iter().filter_map(landing).take(AT_ONCE));
        let mut pipe = redis::pipe();
        for item in &mut self.batch {
            pipe.add_command(std::mem::take(&mut item.cmd));
        }
        Some(pipe)
    }

    /// Hands on the answers to what [`Self::next`] returned; `None`: there were none. Tells `sent` what was sent.
    pub(super) fn was_answered(&mut self, answers: Option<Vec<Value>>, mut sent: impl FnMut(Command)) {
        if answers.is_some() || self.since.elapsed() > LONGEST {
            self.landings.clear();
        }
        let mut answers = answers.map(Vec::into_iter);
        for item in self.batch.drain(..) {
            let command = item.command();
            item.answer(answers.as_mut().and_then(Iterator::next));
            sent(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    async fn sizes(behind: &mut Behind, answered: bool) -> usize {
        let pipe = behind.next().await.unwrap();
        let mut sent = 0;
        behind.was_answered(answered.then(Vec::new), |_| sent += 1);
        assert_eq!(sent, pipe.cmd_iter().count());
        sent
    }

    fn item(command: Command) -> Item {
        Item::new(command, redis::cmd("PING"), None)
    }

    #[tokio::test(start_paused = true)]
    async fn only_landings_are_sent_again_until_they_are_answered_or_too_old() {
        let (put, mut behind) = queue();
        for command in [Command::Beat, Command::Land, Command::Hold] {
            put.try_send(item(command)).unwrap();
        }
        assert_eq!(sizes(&mut behind, false).await, 3);
        let began = Instant::now();
        assert_eq!(sizes(&mut behind, false).await, 1);
        assert_eq!(began.elapsed(), AGAIN);
        put.try_send(item(Command::Beat)).unwrap();
        assert_eq!(sizes(&mut behind, true).await, 2);
        put.try_send(item(Command::Land)).unwrap();
        let mut again = 0;
        while again == 0 || !behind.landings.is_empty() {
            assert_eq!(sizes(&mut behind, false).await, 1);
            again += 1;
        }
        assert_eq!(again, 2 + LONGEST.as_millis() / AGAIN.as_millis());
        drop(put);
        assert!(behind.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_collected_and_each_gets_its_answer() {
        let (put, mut behind) = queue();
        let (heard, mut hears) = mpsc::unbounded_channel();
        let asks = |command, n: i64| {
            let heard = heard.clone();
            let then = move |answer| heard.send((n, answer)).unwrap();
            put.try_send(Item::new(command, redis::cmd("PING"), Some(Box::new(then)))).unwrap();
        };
        let began = Instant::now();
        asks(Command::Bill, 1);
        let pipe = {
            let mut next = std::pin::pin!(behind.next());
            assert!(poll!(&mut next).is_pending());
            asks(Command::Numbers, 2);
            assert!(poll!(&mut next).is_pending());
            asks(Command::Land, 3);
            next.await.unwrap()
        };
        assert_eq!((pipe.cmd_iter().count(), began.elapsed()), (3, Duration::ZERO));
        behind.was_answered(Some((1..=3).map(Value::Int).collect()), |_| {});
        for n in 1..=3 {
            assert_eq!(hears.try_recv().unwrap(), (n, Some(Value::Int(n))));
        }
        asks(Command::Bill, 4);
        assert_eq!(behind.next().await.unwrap().cmd_iter().count(), 1);
        assert_eq!(began.elapsed(), COLLECT);
        behind.was_answered(None, |_| {});
        assert_eq!(hears.try_recv().unwrap(), (4, None));
    }
}
