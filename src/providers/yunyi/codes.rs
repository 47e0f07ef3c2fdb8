//! The provider's codes and the faults they map to. 0005, 0006 and 0009 are not documented and are treated as unknown.
//!
//! Invariant: only the three codes of [`VERDICTS`] are verdicts, and only if the message does not belong to another
//! code.

use jiff::Timestamp;

use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::{market, market_error};
use crate::providers::dialect::Cause;
use crate::providers::{Asked, Code};

/// The results: verdict, code and message.
const VERDICTS: [(Verdict, &str, &str); 3] = [
    (Verdict::Match, "0000", "身份证信息匹配"),
    (Verdict::Mismatch, "0008", "身份证信息不匹配"),
    (Verdict::NoRecord, "0007", "无此身份证号码"),
];

const NO_NAME: Code = row("0001", "开户名不能为空", Outcome::InputRefused);
const BAD_NAME: Code = row("0002", "开户名不能包含特殊字符", Outcome::InputRefused);
const NO_NUMBER: Code = row("0003", "身份证号不能为空", Outcome::InputRefused);
const BAD_NUMBER: Code = row("0004", "身份证号格式错误", Outcome::InputRefused);

const MAINTENANCE: Code = row("0010", "系统维护，请稍后再试", Outcome::SourceDown);

/// The errors.
pub static FAILURES: &[Code] = &[NO_NAME, BAD_NAME, NO_NUMBER, BAD_NUMBER, MAINTENANCE];

/// The market bills every HTTP 2xx, and no document says which status the errors have.
const fn row(code: &'static str, message: &'static str, outcome: Outcome) -> Code {
    Code { billed: Some(Billed::Unknown), ..Code::new(code, 200, message, outcome, Reason::Unspecified) }
}

/// The code for each cause. The provider has codes for invalid input and one for being unavailable; the gateway covers
/// all else.
pub fn word(cause: Cause) -> &'static Code {
    match cause {
        Cause::Failed | Cause::Unavailable => &MAINTENANCE,
        other => market_error::word(other, &BAD_NAME, &BAD_NUMBER),
    }
}

/// The verdict of `code`, unless `message` contradicts it.
///
/// # Errors
/// An unknown code, or the message of another code.
pub fn verdict(code: &str, message: Option<&str>) -> Result<Verdict, Fault> {
    let (verdict, ..) = VERDICTS.iter().find(|row| row.1 == code).ok_or(Fault::unreadable(Reason::UnknownCode))?;
    let messages = VERDICTS.iter().map(|row| (row.1, row.2)).chain(FAILURES.iter().map(|row| (row.code, row.message)));
    let belongs_to_another = |message: &str| messages.clone().any(|row| row.1 == message.trim() && row.0 != code);
    if message.is_some_and(belongs_to_another) {
        return Err(Fault::unreadable(Reason::Contradiction));
    }
    Ok(*verdict)
}

pub fn of(verdict: Verdict) -> (&'static str, &'static str) {
    VERDICTS.iter().find(|row| row.0 == verdict).map(|row| (row.1, row.2)).unwrap_or_default()
}

pub fn failure(code: &str) -> Option<&'static Code> {
    FAILURES.iter().find(|row| row.code == code)
}

/// Validates a pair as the provider does, in the order of its codes.
///
/// # Errors
/// The row of the first violated rule.
pub fn objection(asked: &Asked, now: Timestamp) -> Result<(), &'static Code> {
    let (name, number) = (asked.name.expose(), asked.id_number.expose());
    match () {
        () if name.is_empty() => Err(&NO_NAME),
        () if !market::is_a_name(name) => Err(&BAD_NAME),
        () if number.is_empty() => Err(&NO_NUMBER),
        () if !market::is_a_number(number, now) => Err(&BAD_NUMBER),
        () => Ok(()),
    }
}
