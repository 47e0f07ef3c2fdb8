//! When a breaker trips, how it probes and how long it stays open.
//!
//! Failures *in a row* are counted regardless of time, so they trip at any call rate. The two ratios apply to a window
//! and need a minimum number of recent calls. A new key needs a default and a line in `validate`.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;

/// The thresholds of a breaker. Durations are written like `5s` or `1m 30s`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This many failures without a success in between open the breaker, however far apart.
    pub consecutive_failures: u32,
    /// The period the ratios apply to, divided into ten steps.
    #[serde(with = "friendly")]
    pub window: Duration,
    /// With fewer calls than this in the window, the ratios are not applied.
    pub minimum_calls: u32,
    /// This share of failed calls in the window opens the breaker. Above 0, at most 1.
    pub failure_ratio: f64,
    /// An answer that takes at least this long is slow.
    #[serde(with = "friendly")]
    pub slow_call: Duration,
    /// This share of slow answers in the window opens the breaker. Above 0, at most 1.
    pub slow_ratio: f64,
    /// Maximum number of concurrent probes while half-open.
    pub probes: u32,
    /// Number of successful probes that close the breaker.
    pub successes_to_close: u32,
    /// The first open time, less a random 0 to 20 %. Doubles with each failed probe.
    #[serde(with = "friendly")]
    pub open_for: Duration,
    /// The longest open time, even if the provider asks for more.
    #[serde(with = "friendly")]
    pub open_max: Duration,
    /// A probe that has reported nothing for this long no longer blocks others. Must be longer than any call may take.
    #[serde(with = "friendly")]
    pub probe_lease: Duration,
    /// Calls per second that may pass although the breaker is not closed, if the caller has nobody else to ask. None
    /// while the endpoint answers nothing, more while it answers at least a quarter of such calls; 0 allows none.
    pub trickle: u32,
    /// After this long in the closed state, the next open time starts at `open_for` again.
    #[serde(with = "friendly")]
    pub stable_after: Duration,
}

impl Config {
    /// All mistakes, as (key, advice).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut demand = |kept: bool, key: &'static str, advice: &str| {
            if !kept {
                wrong.push((key, advice.to_owned()));
            }
        };
        let is_share = |ratio: f64| ratio > 0.0 && ratio <= 1.0;
        let count = "write a whole number of at least 1";
        let share = "write a share above 0 and at most 1, such as 0.5";
        let moment = Duration::from_millis(1);
        let day = Duration::from_hours(24);

        demand(self.consecutive_failures >= 1, "consecutive_failures", count);
        demand((Duration::from_secs(1)..=day).contains(&self.window), "window", "write a time from 1s to 24h");
        demand(self.minimum_calls >= 1, "minimum_calls", count);
        demand(is_share(self.failure_ratio), "failure_ratio", share);
        demand(self.slow_call >= moment, "slow_call", "write a time of at least 1ms");
        demand(is_share(self.slow_ratio), "slow_ratio", share);
        demand(self.probes >= 1, "probes", count);
        demand(self.successes_to_close >= 1, "successes_to_close", count);
        demand((moment..=day).contains(&self.open_for), "open_for", "write a time from 1ms to 24h");
        demand(
            (self.open_for..=day.max(self.open_for)).contains(&self.open_max),
            "open_max",
            "write a time from open_for to 24h",
        );
        demand(self.probe_lease >= moment, "probe_lease", "write a time longer than any call may take, such as 20s");
        wrong
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            window: Duration::from_mins(1),
            minimum_calls: 20,
            failure_ratio: 0.5,
            slow_call: Duration::from_secs(2),
            slow_ratio: 0.8,
            probes: 1,
            successes_to_close: 1,
            open_for: Duration::from_secs(5),
            open_max: Duration::from_mins(5),
            probe_lease: Duration::from_secs(20),
            trickle: 10,
            stable_after: Duration::from_mins(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use config::{Environment, File, FileFormat};

    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<Config, config::ConfigError> {
        let variables = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::with_prefix("IDGATE").prefix_separator("__").separator("__");
        config::Config::builder()
            .add_source(File::from_str(toml, FileFormat::Toml))
            .add_source(environment.source(Some(variables)))
            .build()?
            .get("breaker")
    }

    #[test]
    fn the_default_is_valid_and_an_empty_section_is_the_default() {
        assert_eq!(Config::default().validate(), []);
        assert_eq!(read("[breaker]", &[]).unwrap(), Config::default());
    }

    #[test]
    fn numbers_and_durations_are_read_from_a_file_and_from_strings_of_the_environment() {
        let read = read(
            "[breaker]\nopen_for = '1m 30s'\nfailure_ratio = 0.9\nprobes = 2",
            &[
                ("IDGATE__BREAKER__OPEN_MAX", "2h"),
                ("IDGATE__BREAKER__FAILURE_RATIO", "0.25"),
                ("IDGATE__BREAKER__CONSECUTIVE_FAILURES", "3"),
            ],
        );
        let expected = Config {
            open_for: Duration::from_secs(90),
            open_max: Duration::from_hours(2),
            failure_ratio: 0.25,
            consecutive_failures: 3,
            probes: 2,
            ..Config::default()
        };
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn unknown_keys_and_bare_numbers_for_times_are_refused() {
        assert!(read("[breaker]\nopenfor = '1s'", &[]).is_err());
        assert!(read("[breaker]\nopen_for = 5", &[]).is_err());
        assert!(read("[breaker]\nopen_for = '-5s'", &[]).is_err());
    }

    #[test]
    fn every_mistake_is_reported_at_once_under_its_key() {
        let nothing = Config {
            consecutive_failures: 0,
            window: Duration::ZERO,
            minimum_calls: 0,
            failure_ratio: f64::NAN,
            slow_call: Duration::ZERO,
            slow_ratio: 1.1,
            probes: 0,
            successes_to_close: 0,
            open_for: Duration::from_mins(10),
            open_max: Duration::from_mins(5),
            probe_lease: Duration::ZERO,
            trickle: 0,
            stable_after: Duration::ZERO,
        };
        let keys: Vec<_> = nothing.validate().into_iter().map(|(key, _)| key).collect();
        let all_but_two = [
            "consecutive_failures",
            "window",
            "minimum_calls",
            "failure_ratio",
            "slow_call",
            "slow_ratio",
            "probes",
            "successes_to_close",
            "open_max",
            "probe_lease",
        ];
        assert_eq!(keys, all_but_two);
        let endless = Config { open_for: Duration::MAX, open_max: Duration::MAX, ..Config::default() };
        assert_eq!(endless.validate().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["open_for"]);
    }
}
