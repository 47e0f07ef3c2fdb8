//! The texts of 拇指云 and the faults they map to. It has no codes: results and errors are Chinese sentences. They are
//! matched by prefix because the page shows a trailing `key` on them. A full-width colon counts as a colon.
//!
//! Invariant: a text that matches no row is unknown, and unknown is never a verdict.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::{market, market_error};
use crate::providers::dialect::Cause;
use crate::providers::{Asked, Code};

/// The HTTP status of every error; outside 1xx to 5xx, and never billed.
pub const FAILED: u16 = 666;

/// The maximum name length in characters: the error table says 50, the parameter table 14.
pub const NAME_LIMIT: usize = 50;

/// The maximum number length in characters: the error table says 18, the parameter table 32.
const NUMBER_LIMIT: usize = 18;

/// The prefix of every negative result.
const NEGATIVE: &str = "实名校验失败";

/// The results, all under HTTP 200 with `ok: 1`.
const RESULTS: [(Verdict, &str); 3] = [
    (Verdict::Match, "实名信息正确"),
    (Verdict::Mismatch, "实名校验失败:身份证与姓名不匹配"),
    (Verdict::NoRecord, "实名校验失败:查无记录"),
];

const NO_NAME: Code = input("未传入真实姓名xm");
const NO_NUMBER: Code = input("未传入身份证号码sfz");
const LONG_NAME: Code = input("传入真实姓名xm字符串长度超限");
const LONG_NUMBER: Code = input("传入身份证号码sfz字符串长度超限");
const BAD_NAME: Code = input("姓名有误");
const BAD_NUMBER: Code = input("身份证号码有误");

/// The errors. Those about `appid`, `sendtime` and `sign` belong to the company's own platform, which we do not call.
pub static FAILURES: &[Code] = &[
    NO_NAME,
    NO_NUMBER,
    LONG_NAME,
    LONG_NUMBER,
    BAD_NAME,
    BAD_NUMBER,
    account("未传入开发者账号appid", Reason::Misconfigured),
    account("传入开发者账号appid字符串长度超限", Reason::Misconfigured),
    account("未传入查询时间sendtime", Reason::Misconfigured),
    account("传入查询时间sendtime字符串长度超限", Reason::Misconfigured),
    account("时间戳超时", Reason::Clock),
    account("未传入签名sign", Reason::Misconfigured),
    account("传入签名sign字符串长度超限", Reason::Misconfigured),
    account("签名校验失败", Reason::SignatureRefused),
    // Our rules reject asterisks in names and numbers, so only a bug of ours leads to this.
    row("存在*字符，视为调试数据", Outcome::Unreadable, Reason::RequestForm),
    account("非法来源", Reason::NoPermission),
    // The full text is "appid:", the blocked account, and "接口已停用".
    account("appid:", Reason::KeyRefused),
];

const fn row(begins: &'static str, outcome: Outcome, reason: Reason) -> Code {
    Code { billed: Some(Billed::No), ..Code::new(begins, FAILED, begins, outcome, reason) }
}

const fn input(begins: &'static str) -> Code {
    row(begins, Outcome::InputRefused, Reason::Unspecified)
}

const fn account(begins: &'static str, reason: Reason) -> Code {
    row(begins, Outcome::AccountFault, reason)
}

/// The code for each cause. The provider's texts cover the name and number only; the gateway covers all else.
pub fn word(cause: Cause) -> &'static Code {
    market_error::word(cause, &BAD_NAME, &BAD_NUMBER)
}

/// The result whose text is a prefix of `msg`.
pub fn result(msg: &str) -> Option<Verdict> {
    let msg = plain(msg);
    RESULTS.iter().find(|(_, begins)| msg.starts_with(begins)).map(|(verdict, _)| *verdict)
}

pub fn result_text(verdict: Verdict) -> &'static str {
    RESULTS.iter().find(|(result, _)| *result == verdict).map(|(_, text)| *text).unwrap_or_default()
}

/// The error whose text is a prefix of `msg`.
pub fn failure(msg: &str) -> Option<&'static Code> {
    let msg = plain(msg);
    FAILURES.iter().find(|row| msg.starts_with(row.code))
}

/// Whether `msg` reports an error, in a known or unknown text.
pub fn speaks_of_failure(msg: &str) -> bool {
    plain(msg).starts_with(NEGATIVE) || failure(msg).is_some()
}

/// Validates a pair as the provider does, in the order of its table.
///
/// # Errors
/// The row of the first violated rule.
pub fn objection(asked: &Asked, now: Timestamp) -> Result<(), &'static Code> {
    let (name, number) = (asked.name.expose(), asked.id_number.expose());
    match () {
        () if name.is_empty() => Err(&NO_NAME),
        () if number.is_empty() => Err(&NO_NUMBER),
        () if name.chars().count() > NAME_LIMIT => Err(&LONG_NAME),
        () if number.chars().count() > NUMBER_LIMIT => Err(&LONG_NUMBER),
        () if !market::is_a_name(name) => Err(&BAD_NAME),
        () if !market::is_a_number(number, now) => Err(&BAD_NUMBER),
        () => Ok(()),
    }
}

fn plain(msg: &str) -> Cow<'_, str> {
    let msg = msg.trim();
    if msg.contains('：') { msg.replace('：', ":").into() } else { msg.into() }
}
