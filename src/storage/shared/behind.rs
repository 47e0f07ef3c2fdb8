//! What is sent without anybody waiting for it: many commands at a time, and landings again until they are answered.
//!
//! Anything else is a hint, or is written again by whoever wrote it. A landing that is lost would have other replicas wait
//! for a call that has ended; one that comes twice does nothing.

use std::time::Duration;

use redis::{Cmd, Pipeline};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::script::Command;

/// How many commands may wait; more are dropped.
const MOST: usize = 4096;

/// How many are sent at a time, and how many landings are kept.
const AT_ONCE: usize = 512;

/// How soon landings are sent again, and for how long: shorter than Redis refuses what lands about somebody who was
/// forgotten.
const AGAIN: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// A command and what it is.
type Sent = (Command, Cmd);

/// The commands that wait, for the one task that sends them.
#[derive(Debug)]
pub(super) struct Behind {
    waiting: mpsc::Receiver<Sent>,
    batch: Vec<Sent>,
    /// Landings of the last batch, until it is answered.
    landings: Vec<Cmd>,
    /// Since when landings have not been answered.
    since: Instant,
}

/// An empty queue: where commands are put, and where they are taken from.
pub(super) fn queue() -> (mpsc::Sender<Sent>, Behind) {
    let (sender, waiting) = mpsc::channel(MOST);
    (sender, Behind { waiting, batch: Vec::new(), landings: Vec::new(), since: Instant::now() })
}

impl Behind {
    /// What to send next, and the last command of it; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(Command, Pipeline)> {
        if self.landings.is_empty() {
            if self.waiting.recv_many(&mut self.batch, AT_ONCE).await == 0 {
                return None;
            }
            self.since = Instant::now();
        } else {
            let _ = timeout(AGAIN, self.waiting.recv_many(&mut self.batch, AT_ONCE)).await;
        }
        self.batch.extend(self.landings.drain(..).map(|cmd| (Command::Land, cmd)));
        let landing = |(command, cmd): &Sent| (*command == Command::Land).then(|| cmd.clone());
        self.landings.extend(self.batch.iter().filter_map(landing).take(AT_ONCE));
        let (mut pipe, mut last) = (redis::pipe(), Command::Beat);
        for (command, cmd) in self.batch.drain(..) {
            last = command;
            pipe.add_command(cmd).ignore();
        }
        Some((last, pipe))
    }

    /// Notes whether the last batch was answered.
    pub(super) fn was_answered(&mut self, is_answered: bool) {
        if is_answered || self.since.elapsed() > LONGEST {
            self.landings.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sizes(behind: &mut Behind, answered: bool) -> usize {
        let (_, pipe) = behind.next().await.unwrap();
        behind.was_answered(answered);
        pipe.cmd_iter().count()
    }

    #[tokio::test(start_paused = true)]
    async fn only_landings_are_sent_again_until_they_are_answered_or_too_old() {
        let (put, mut behind) = queue();
        for command in [Command::Beat, Command::Land, Command::Hold] {
            put.try_send((command, redis::cmd("PING"))).unwrap();
        }
        assert_eq!(sizes(&mut behind, false).await, 3);
        let began = Instant::now();
        assert_eq!(sizes(&mut behind, false).await, 1);
        assert_eq!(began.elapsed(), AGAIN);
        put.try_send((Command::Beat, redis::cmd("PING"))).unwrap();
        assert_eq!(sizes(&mut behind, true).await, 2);
        put.try_send((Command::Land, redis::cmd("PING"))).unwrap();
        let mut again = 0;
        while again == 0 || !behind.landings.is_empty() {
            assert_eq!(sizes(&mut behind, false).await, 1);
            again += 1;
        }
        assert_eq!(again, 2 + LONGEST.as_millis() / AGAIN.as_millis());
        drop(put);
        assert!(behind.next().await.is_none());
    }
}
