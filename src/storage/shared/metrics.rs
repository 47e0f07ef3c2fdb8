//! The metrics of what is shared.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use strum::VariantArray as _;

use super::script::Command;

/// In seconds, around the patience.
const BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/// How a question fared that this replica did not remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// This replica called, and the others know.
    Led,
    /// It waited for the call of another replica.
    Joined,
    /// Another replica had already been told.
    Known,
    /// It called without a lease, because Redis is away.
    Alone,
    /// It called in place of a replica that is silent.
    TakenOver,
    /// Its verdict came after its lease.
    Lost,
}

#[derive(Debug, Clone)]
pub(super) struct Meter {
    up: IntGauge,
    /// Of each command.
    commands: Arc<[Sends]>,
    questions: IntCounterVec,
    forged: IntCounter,
    forgotten_late: IntCounter,
    replicas: IntGaugeVec,
    most: IntGauge,
    differ: IntGaugeVec,
    slice: IntGaugeVec,
}

/// The series of a command.
#[derive(Debug)]
struct Sends {
    ended: Box<[IntCounter]>,
    seconds: Histogram,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Sent {
    Ok,
    Timeout,
    Error,
    /// Not even sent.
    Away,
}

impl Role {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Sent {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Meter {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauges = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let seconds = HistogramOpts::new("idgate_shared_command_seconds", "How long Redis took to answer a command.");
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["command"])?;
        let commands = vec("idgate_shared_commands_total", "Commands for Redis.", &["command", "result"])?;
        let sends = |command: &Command| Sends {
            ended: Sent::VARIANTS
                .iter()
                .map(|sent| commands.with_label_values(&[command.as_str(), sent.as_str()]))
                .collect(),
            seconds: seconds.with_label_values(&[command.as_str()]),
        };
        let meter = Self {
            up: IntGauge::new("idgate_shared_up", "1 while Redis answers; 0 while every limit is a local one.")?,
            commands: Command::VARIANTS.iter().map(sends).collect(),
            questions: vec(
                "idgate_shared_questions_total",
                "Questions that this replica did not remember, by how they fared among the replicas.",
                &["role"],
            )?,
            forged: IntCounter::new(
                "idgate_shared_forged_total",
                "Verdicts in Redis that nobody with the digest key has written.",
            )?,
            forgotten_late: IntCounter::new(
                "idgate_shared_forgotten_late_total",
                "Verdicts that were not shared, because the person was erased during the call.",
            )?,
            replicas: gauges("idgate_replicas", "Replicas that share one Redis.", &["state"])?,
            most: IntGauge::new("idgate_replicas_most", "The value of replica.most.")?,
            differ: gauges(
                "idgate_replicas_differ",
                "1 while another replica has another version of this section of the configuration.",
                &["section"],
            )?,
            slice: gauges(
                "idgate_budget_slice",
                "1 while a budget is divided among the replicas, because Redis is away.",
                &["owner", "name"],
            )?,
        };
        registry.register(Box::new(meter.up.clone()))?;
        registry.register(Box::new(commands))?;
        registry.register(Box::new(seconds))?;
        registry.register(Box::new(meter.questions.clone()))?;
        registry.register(Box::new(meter.forged.clone()))?;
        registry.register(Box::new(meter.forgotten_late.clone()))?;
        registry.register(Box::new(meter.replicas.clone()))?;
        registry.register(Box::new(meter.most.clone()))?;
        registry.register(Box::new(meter.differ.clone()))?;
        registry.register(Box::new(meter.slice.clone()))?;
        for role in Role::VARIANTS {
            meter.questions.with_label_values(&[role.as_str()]);
        }
        meter.members(1, 0);
        Ok(meter)
    }

    pub(super) fn most(&self, most: u32) {
        self.most.set(most.into());
    }

    pub(super) fn up(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }

    pub(super) fn sent(&self, command: Command, sent: Sent, took: Duration) {
        let Some(series) = self.commands.get(command as usize) else { return };
        if let Some(ended) = series.ended.get(sent as usize) {
            ended.inc();
        }
        if sent == Sent::Ok {
            series.seconds.observe(took.as_secs_f64());
        }
    }

    pub(super) fn question(&self, role: Role) {
        self.questions.with_label_values(&[role.as_str()]).inc();
    }

    pub(super) fn forged(&self) {
        self.forged.inc();
    }

    pub(super) fn forgotten_late(&self) {
        self.forgotten_late.inc();
    }

    pub(super) fn members(&self, live: usize, silent: usize) {
        for (state, count) in [("live", live), ("silent", silent)] {
            self.replicas.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn differ<'a>(&self, sections: impl Iterator<Item = &'a String>) {
        self.differ.reset();
        sections.for_each(|section| self.differ.with_label_values(&[section]).set(1));
    }

    pub(super) fn slice(&self, owner: &str, name: &str, is_divided: bool) {
        self.slice.with_label_values(&[owner, name]).set(i64::from(is_divided));
    }
}
