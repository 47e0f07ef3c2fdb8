//! Each of our error codes maps to a documented code in every protocol, and an idgate in front decodes it to the
//! right outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use idgate::domain::outcome::Outcome::{self, RateLimited};
use idgate::providers::dialect::{Cause, Dialect};
use idgate::providers::{Asked, ReplyTo};
use idgate::server::compat;
use idgate::server::http::code::Code;

use super::{Answers, right, served, subject};
use crate::contract::read;

fn reply_to() -> ReplyTo {
    let pair = right();
    let asked = Asked {
        name: idgate::domain::personal::Personal::new(pair.name),
        id_number: idgate::domain::personal::Personal::new(pair.id_number),
    };
    ReplyTo {
        request_id: "01A20398-CCA6-73AC-BEE2-61F7C06E7092".to_owned(),
        host: "idgate.example".to_owned(),
        asked: Some(asked),
        ..ReplyTo::default()
    }
}

#[test]
fn every_code_of_ours_reads_as_the_right_outcome_in_front() {
    let retry_after = Some(Duration::from_secs(7));
    for (driver, dialect) in served() {
        let protocol = driver.sandbox().unwrap().protocol;
        let answers = Answers::of(driver.name);
        for code in Code::ALL.iter().copied() {
            for media_type in std::iter::once(None).chain(dialect.media_types.iter().copied().map(Some)) {
                let refusal = compat::refusal(dialect, code, retry_after);
                let row = refusal.code;
                // A code with status 200 comes from the service itself, which is never asked for another media type.
                if media_type.is_some() && row.status == 200 {
                    continue;
                }
                let what = format!("{} {}: {}", driver.name, code.as_str(), row.code);
                assert!(driver.all_codes().any(|known| known == row), "{what} is in no table of the driver");
                let response = dialect.service.encode_response(Err(refusal), &ReplyTo { media_type, ..reply_to() });
                let fault = protocol.decode_response((&subject(&right())).into(), &response).unwrap_err();
                let allowed = answers.reads_as.get(code.as_str()).unwrap_or_else(|| panic!("{what}: no outcome"));
                assert!(allowed.iter().any(|word| word == fault.outcome.as_str()), "{what} reads as {fault:?}");
                // `TooOften` concerns one person but its pause would delay all calls; any other pause means throttling.
                let has_hint = fault.outcome == RateLimited && compat::cause(code) != Cause::TooOften;
                if answers.tells_pause {
                    assert_eq!(fault.retry_after, retry_after.filter(|_| has_hint), "{what}");
                }
                if code == Code::OutcomeUnknown {
                    assert_eq!(fault.billed.as_str(), "unknown", "{what}");
                }
            }
        }
    }
}

#[test]
fn every_cause_has_a_word_and_no_word_is_a_verdict() {
    let all: BTreeSet<_> = Cause::ALL.iter().map(|cause| format!("{cause:?}")).collect();
    assert_eq!(all.len(), Cause::ALL.len());
    for (_, dialect) in served() {
        for cause in Cause::ALL {
            assert_ne!((dialect.word)(cause).outcome, Outcome::Verdict);
        }
    }
    for code in Code::ALL.iter().copied() {
        assert!(Cause::ALL.contains(&compat::cause(code)), "{}", code.as_str());
    }
}

/// `400 Throttling.User`; for the market protocols, whose gateway has messages instead of codes, the message.
fn shown(dialect: &Dialect, code: Code) -> String {
    let row = compat::refusal(dialect, code, None).code;
    format!("{} {}", row.status, row.code)
}

#[test]
fn the_documents_tell_callers_what_each_code_becomes() {
    // Codes that callers of these protocols never get.
    let never = [
        Code::NotAcceptable,
        Code::UnsupportedMediaType,
        Code::IdempotencyInProgress,
        Code::IdempotencyKeyReused,
        Code::ReceiptUnavailable,
        Code::InvalidConfiguration,
        Code::NotCached,
    ];
    let page = read("docs/provider-protocols.md");
    for code in Code::ALL.iter().copied().filter(|code| !never.contains(code)) {
        let words: Vec<_> = served().map(|(_, dialect)| format!("`{}`", shown(dialect, code))).collect();
        let row = format!("| `{}` | {} |", code.as_str(), words.join(" | "));
        assert!(page.lines().any(|line| line == row), "docs/provider-protocols.md lacks this line:\n{row}");
    }
}
