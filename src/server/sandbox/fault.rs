//! The faults of a simulated provider, and the JSON that sets them.
//!
//! A fault is a JSON object. `kind` selects the effect:
//!
//! | `kind` | other members | what the client sees |
//! | --- | --- | --- |
//! | `code` | `code`; `message` (a prefix) or `reason` if rows share the code; `retry_after` | that documented code |
//! | `outcome` | `outcome`; `reason`; `retry_after` | the provider's first documented code with that outcome |
//! | `hang` | | no answer; the connection stays open |
//! | `slow` | `delay` | the right answer, after the delay |
//! | `drip` | `interval` | the right answer, one byte per interval |
//! | `reset` | | a TCP reset after the request was read |
//! | `close` | | an orderly close after the request was read, without an answer |
//! | `truncated` | | half of the right answer, then a close |
//! | `garbage`, `empty` | | the right head, with an invalid body or none |
//! | `big` | | the right answer followed by 2 MiB of white space |
//! | `other_form` | | the right answer as 203 after a byte order mark; compressed if the request allows it |
//! | `html_502` | | 502 with an HTML page |
//! | `redirect` | | 307 to another socket of the sandbox |
//! | `wrong_echo` | | a match about another person (only providers that echo the person) |
//! | `status` | `status` | that HTTP status, with a body that no protocol understands |
//! | `refuse_connections` | | a closed port |
//!
//! Every kind takes these members: `times`, the number of calls it affects before it clears itself; `endpoint`, the
//! only endpoint it affects, counted from 0; `id_number`, the only person it affects. `refuse_connections` takes
//! `endpoint` only.
//!
//! ```json
//! {"kind": "code", "code": "412"}
//! {"kind": "outcome", "outcome": "source_down", "times": 3}
//! {"kind": "slow", "delay": "3s", "endpoint": 0}
//! {"kind": "reset", "id_number": "11010519491231002X"}
//! ```
//!
//! Invariant: unknown members, and members that the kind does not take, are rejected. No error message quotes a value,
//! which could be personal data.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as friendly;
use serde::Deserialize;

use crate::domain::outcome::{Outcome, Reason};
use crate::domain::personal::Personal;
use crate::providers::{Code, Refusal};

/// A fault and the calls it affects.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    /// The number of calls it affects; `None` for all, until it is cleared.
    pub times: Option<NonZeroU32>,
    /// The only endpoint it affects, by index; `None` for all.
    pub endpoint: Option<usize>,
    /// The only person it affects; `None` for everybody.
    pub id_number: Option<Personal>,
}

/// The effect of a fault. The module documentation says what the client sees.
#[derive(Debug, Clone, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the table at the head of the module says it once")]
pub enum Kind {
    /// A documented code: the JSON kinds `code` and `outcome`.
    Refuse(Refusal),
    Hang,
    Slow {
        delay: Duration,
    },
    Drip {
        interval: Duration,
    },
    Reset,
    Close,
    Truncated,
    Garbage,
    Empty,
    Big,
    OtherForm,
    Html502,
    Redirect,
    WrongEcho,
    Status(StatusCode),
    RefuseConnections,
}

impl From<Kind> for Fault {
    /// Affects every call, at every endpoint, about anybody.
    fn from(kind: Kind) -> Self {
        Self { kind, times: None, endpoint: None, id_number: None }
    }
}

impl Fault {
    /// Limits the fault to the next `times` calls.
    pub fn times(self, times: NonZeroU32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Parses the JSON that the module documentation describes. `codes` are the provider's documented codes.
    ///
    /// # Errors
    /// A message that names the member and says what to write instead.
    pub fn parse(json: &[u8], codes: &'static [&'static [Code]]) -> Result<Self, String> {
        let mut read = serde_json::Deserializer::from_slice(json);
        let document: Document = serde_path_to_error::deserialize(&mut read).map_err(|error| {
            // Only the path is reported, because the text of the error could quote an ID number.
            match error.path().to_string().as_str() {
                "." => "The body is not a fault; write a JSON object like {\"kind\": \"hang\"}.".to_owned(),
                // A member name is repeated only if it looks like one of ours, because it could be a person's name.
                member if member.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    format!("The member `{member}` is unknown or of the wrong type. {}", Document::members())
                }
                _ => format!("A member is unknown. {}", Document::members()),
            }
        })?;
        read.end().map_err(|_| "There is something after the JSON object; remove it.".to_owned())?;
        document.interpret(codes)
    }
}

/// The JSON object as sent. Each kind takes the members it uses; any member left over is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: String,
    code: Option<String>,
    message: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
    #[serde(default, with = "friendly")]
    retry_after: Option<Duration>,
    #[serde(default, with = "friendly")]
    delay: Option<Duration>,
    #[serde(default, with = "friendly")]
    interval: Option<Duration>,
    status: Option<u16>,
    times: Option<NonZeroU32>,
    endpoint: Option<usize>,
    id_number: Option<String>,
}

impl Document {
    fn members() -> &'static str {
        "There are: kind, code, message, outcome, reason, retry_after, delay, interval, status, times, endpoint, \
         id_number. Durations are written like \"3s\"."
    }

    fn interpret(mut self, codes: &'static [&'static [Code]]) -> Result<Fault, String> {
        let kind = match self.kind.as_str() {
            "code" | "outcome" => Kind::Refuse(self.refusal(codes)?),
            "hang" => Kind::Hang,
            "slow" => Kind::Slow { delay: needed(self.delay.take(), "delay", "\"3s\"")? },
            "drip" => Kind::Drip { interval: needed(self.interval.take(), "interval", "\"100ms\"")? },
            "reset" => Kind::Reset,
            "close" => Kind::Close,
            "truncated" => Kind::Truncated,
            "garbage" => Kind::Garbage,
            "empty" => Kind::Empty,
            "big" => Kind::Big,
            "other_form" => Kind::OtherForm,
            "html_502" => Kind::Html502,
            "redirect" => Kind::Redirect,
            "wrong_echo" => Kind::WrongEcho,
            "status" => Kind::Status(self.final_status()?),
            "refuse_connections" => Kind::RefuseConnections,
            _ => {
                return Err("The `kind` is unknown. There are: code, outcome, hang, slow, drip, reset, close, \
                     truncated, garbage, empty, big, other_form, html_502, redirect, wrong_echo, status, \
                     refuse_connections."
                    .to_owned());
            }
        };
        if matches!(kind, Kind::RefuseConnections) && (self.times.is_some() || self.id_number.is_some()) {
            return Err(
                "A closed port sees no calls: `refuse_connections` takes neither `times` nor `id_number`.".to_owned()
            );
        }
        if let Some(stray) = self.stray() {
            return Err(format!("The member `{stray}` does not belong to this `kind`; remove it."));
        }
        Ok(Fault { kind, times: self.times, endpoint: self.endpoint, id_number: self.id_number.map(Personal::new) })
    }

    /// Finds the first documented code that has all the given values.
    fn refusal(&mut self, codes: &'static [&'static [Code]]) -> Result<Refusal, String> {
        let rows = || codes.iter().copied().flatten();
        let (code, message, outcome) = match self.kind.as_str() {
            "code" => (Some(needed(self.code.take(), "code", "one of the list")?), self.message.take(), None),
            _ => (None, None, Some(needed(self.outcome.take(), "outcome", "\"source_down\"")?)),
        };
        let reason = self.reason.take();
        let wanted = |row: &&Code| {
            code.as_deref().is_none_or(|code| row.code == code)
                && message.as_deref().is_none_or(|message| row.message.starts_with(message))
                && outcome.as_deref().is_none_or(|outcome| row.outcome.as_str() == outcome)
                && reason.as_deref().is_none_or(|reason| row.reason.as_str() == reason)
        };
        let code = rows().find(wanted).ok_or_else(|| {
            if code.is_some() {
                format!("No documented code of this provider fits. There are: {}.", listed(rows().map(code_and_reason)))
            } else {
                format!(
                    "No documented code of this provider has that outcome. There are: {}. For timeout use the kind \
                     hang, for interrupted reset, for unreachable refuse_connections, for unreadable garbage.",
                    listed(rows().map(|row| outcome_and_reason(row.outcome, row.reason)))
                )
            }
        })?;
        Ok(Refusal { code, retry_after: self.retry_after.take() })
    }

    fn final_status(&mut self) -> Result<StatusCode, String> {
        let status = needed(self.status.take(), "status", "500")?;
        let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
        status.ok_or_else(|| "The member `status` must be 200 to 999.".to_owned())
    }

    /// A member that the kind did not take.
    fn stray(&self) -> Option<&'static str> {
        let left = [
            ("code", self.code.is_some()),
            ("message", self.message.is_some()),
            ("outcome", self.outcome.is_some()),
            ("reason", self.reason.is_some()),
            ("retry_after", self.retry_after.is_some()),
            ("delay", self.delay.is_some()),
            ("interval", self.interval.is_some()),
            ("status", self.status.is_some()),
        ];
        left.into_iter().find_map(|(member, given)| given.then_some(member))
    }
}

fn needed<T>(value: Option<T>, member: &str, example: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("This `kind` needs the member `{member}`; write for example {example}."))
}

fn code_and_reason(row: &Code) -> String {
    format!("{} ({})", row.code, outcome_and_reason(row.outcome, row.reason))
}

fn outcome_and_reason(outcome: Outcome, reason: Reason) -> String {
    format!("{} {}", outcome.as_str(), reason.as_str())
}

fn listed(rows: impl Iterator<Item = String>) -> String {
    rows.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Why a fault could not be set. Each message says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// No such provider. Holds the names of those that are simulated.
    #[error("No provider of this name is simulated. There are: {0}.")]
    NoProvider(String),
    /// The JSON is not a fault. Holds the reason.
    #[error("{0}")]
    NotUnderstood(String),
    /// `wrong_echo` for a protocol that does not echo the person.
    #[error("This provider does not echo the person, so its echo cannot be wrong; use the kind `garbage`.")]
    NoEcho,
    /// No such endpoint. Holds the number of endpoints.
    #[error("This `endpoint` does not exist: they are counted from 0, and this provider has {0}.")]
    NoEndpoint(usize),
    /// `refuse_connections` closed the port, and another process has taken it since.
    #[error("A closed port could not be opened again, because somebody took it; restart the sandbox.")]
    PortLost(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Outcome, Reason};

    static CODES: &[&[Code]] = &[
        &[Code::new("402", 200, "源不可用", Outcome::SourceDown, Reason::Unspecified)],
        &[
            Code::new("402", 200, "无权限", Outcome::AccountFault, Reason::NoPermission),
            Code::new("412", 200, "欠费", Outcome::AccountFault, Reason::Arrears),
        ],
    ];

    fn parse(json: &str) -> Result<Fault, String> {
        Fault::parse(json.as_bytes(), CODES)
    }

    fn row(json: &str) -> Reason {
        match parse(json).unwrap().kind {
            Kind::Refuse(refusal) => refusal.code.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_that_share_a_code_are_told_apart() {
        assert_eq!(row(r#"{"kind": "code", "code": "412"}"#), Reason::Arrears);
        assert_eq!(row(r#"{"kind": "code", "code": "402"}"#), Reason::Unspecified);
        assert_eq!(row(r#"{"kind": "code", "code": "402", "message": "无"}"#), Reason::NoPermission);
        assert_eq!(row(r#"{"kind": "code", "code": "402", "reason": "no_permission"}"#), Reason::NoPermission);
        assert_eq!(row(r#"{"kind": "outcome", "outcome": "account_fault"}"#), Reason::NoPermission);
        assert_eq!(row(r#"{"kind": "outcome", "outcome": "account_fault", "reason": "arrears"}"#), Reason::Arrears);
    }

    #[test]
    fn the_common_members_are_read() {
        let fault = parse(r#"{"kind": "slow", "delay": "3s", "times": 2, "endpoint": 1, "id_number": "1"}"#).unwrap();
        assert!(matches!(fault.kind, Kind::Slow { delay } if delay == Duration::from_secs(3)));
        assert_eq!((fault.times, fault.endpoint), (NonZeroU32::new(2), Some(1)));
        assert_eq!(fault.id_number, Some(Personal::new("1")));
    }

    #[test]
    fn a_mistake_is_answered_with_its_remedy_and_never_with_its_value() {
        for (json, says) in [
            ("", "not a fault"),
            ("[]", "not a fault"),
            (r#"{"kind": "hang"} x"#, "after the JSON"),
            (r#"{"kind": "11010519491231002X"}"#, "refuse_connections"),
            (r#"{"kind": "hang", "tmies": 1}"#, "`tmies`"),
            (r#"{"kind": "hang", "times": "11010519491231002X"}"#, "`times`"),
            (r#"{"kind": "hang", "times": 0}"#, "`times`"),
            (r#"{"kind": "hang", "11010519491231002X": 0}"#, "A member is unknown"),
            (r#"{"kind": "hang", "delay": "3s"}"#, "`delay`"),
            (r#"{"kind": "slow"}"#, "`delay`"),
            (r#"{"kind": "status", "status": 101}"#, "200 to 999"),
            (r#"{"kind": "code", "code": "11010519491231002X"}"#, "412 (account_fault arrears)"),
            (r#"{"kind": "outcome", "outcome": "timeout"}"#, "hang"),
            (r#"{"kind": "refuse_connections", "times": 1}"#, "`times`"),
        ] {
            let message = parse(json).unwrap_err();
            assert!(message.contains(says) && !message.contains("11010519491231002X"), "{json}: {message}");
        }
    }
}
