//! Every word of ours for failure has a documented one in every protocol, and another idgate in front reads it as the right
//! outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use idgate::domain::outcome::Outcome::{
    self, AccountFault, InputRefused, ProviderError, RateLimited, SourceDown, SubjectThrottled, Timeout, Unreadable,
};
use idgate::providers::dialect::Cause;
use idgate::providers::{Asked, DRIVERS, Driver, ReplyTo};
use idgate::server::compat;
use idgate::server::http::code::Code;

use super::{right, subject};
use crate::contract::read;

/// What may come of a code in front of us: at the RPC gateway, and at the market.
fn outcomes(code: Code) -> (&'static [Outcome], &'static [Outcome]) {
    match code {
        // Nobody sends these; a request that is no question is the fault of whoever sends it.
        Code::MalformedRequest
        | Code::NotAcceptable
        | Code::UnsupportedMediaType
        | Code::IdempotencyKeyReused
        | Code::ReceiptUnavailable
        | Code::InvalidConfiguration => (&[InputRefused], &[Unreadable]),
        Code::PayloadTooLarge | Code::HeadersTooLarge => (&[InputRefused], &[InputRefused]),
        Code::InvalidName | Code::InvalidIdNumber => (&[InputRefused], &[InputRefused]),
        Code::UnsupportedDocument | Code::RejectedByProvider => (&[InputRefused], &[InputRefused]),
        Code::Unauthenticated | Code::Forbidden | Code::NotFound => (&[AccountFault], &[AccountFault]),
        Code::MethodNotAllowed => (&[Unreadable], &[AccountFault]),
        Code::RateLimited => (&[RateLimited], &[RateLimited]),
        Code::BudgetExhausted => (&[RateLimited], &[AccountFault]),
        // The market has no word for a person who is asked about too often.
        Code::SubjectThrottled | Code::EnumerationSuspected => (&[SubjectThrottled], &[RateLimited]),
        Code::ProviderFailure | Code::NoProviderAvailable | Code::NotCached => {
            (&[ProviderError], &[ProviderError, SourceDown])
        }
        Code::Overloaded | Code::ShuttingDown | Code::LedgerUnavailable => (&[ProviderError], &[ProviderError]),
        Code::IdempotencyInProgress | Code::RequestTimeout | Code::Internal => (&[ProviderError], &[ProviderError]),
        // The RPC gateway has no word for "late"; that of a failure inside leaves open whether it was billed.
        Code::OutcomeUnknown => (&[ProviderError], &[Timeout]),
    }
}

fn reply_to() -> ReplyTo {
    let pair = right();
    let asked = Asked {
        name: idgate::domain::personal::Personal::new(pair.name),
        id_number: idgate::domain::personal::Personal::new(pair.id_number),
    };
    ReplyTo {
        request_id: "01A20398-CCA6-73AC-BEE2-61F7C06E7092".to_owned(),
        host: "idgate.example".to_owned(),
        xml: false,
        asked: Some(asked),
        told: None,
    }
}

#[test]
fn every_code_of_ours_reads_as_the_right_outcome_in_front() {
    let retry_after = Some(Duration::from_secs(7));
    for driver in DRIVERS {
        let protocol = driver.sandbox().unwrap().protocol;
        let is_rpc = driver.dialect.path == "/";
        for code in Code::ALL {
            for xml in [false, true] {
                let refusal = compat::refusal(driver, code, retry_after);
                let row = refusal.code;
                // A service's own code in XML is nothing that we ever ask for.
                if xml && row.status == 200 {
                    continue;
                }
                let what = format!("{} {}: {}", driver.name, code.as_str(), row.code);
                assert!(driver.all_codes().any(|known| known == row), "{what} is in no table of the driver");
                let response = protocol.encode_response(Err(refusal), &ReplyTo { xml, ..reply_to() });
                let fault = protocol.decode_response(&subject(&right()), &response).unwrap_err();
                let (rpc, market) = outcomes(code);
                assert!((if is_rpc { rpc } else { market }).contains(&fault.outcome), "{what} reads as {fault:?}");
                // A hint about one person would hold up everybody; any other is taken for throttling.
                let has_hint = fault.outcome == RateLimited && compat::cause(code) != Cause::TooOften;
                assert_eq!(fault.retry_after, retry_after.filter(|_| has_hint), "{what}");
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
    for driver in DRIVERS {
        for cause in Cause::ALL {
            assert_ne!((driver.dialect.word)(cause).outcome, Outcome::Verdict);
        }
    }
    for code in Code::ALL {
        assert!(Cause::ALL.contains(&compat::cause(code)), "{}", code.as_str());
    }
}

/// `400 Throttling.User`; the market's texts of its gateway without their codes as they are.
fn shown(driver: &Driver, code: Code) -> String {
    let row = compat::refusal(driver, code, None).code;
    format!("{} {}", row.status, row.code)
}

#[test]
fn the_readme_tells_callers_what_each_code_becomes() {
    // Codes that no caller of these protocols meets.
    let never = [
        Code::NotAcceptable,
        Code::UnsupportedMediaType,
        Code::IdempotencyInProgress,
        Code::IdempotencyKeyReused,
        Code::ReceiptUnavailable,
        Code::InvalidConfiguration,
        Code::NotCached,
    ];
    let readme = read("README.md");
    for code in Code::ALL.into_iter().filter(|code| !never.contains(code)) {
        let words: Vec<_> = DRIVERS.iter().map(|driver| format!("`{}`", shown(driver, code))).collect();
        let row = format!("| `{}` | {} |", code.as_str(), words.join(" | "));
        assert!(readme.lines().any(|line| line == row), "the README lacks this line:\n{row}");
    }
}
