//! The errors of the market's gateway, row by row.

use idgate::domain::money::Billed;
use idgate::providers::alibaba::market_error::{self, CODES, TEXTS};
use std::time::Duration;

use super::*;

/// A response of the gateway: status, code, message.
fn gateway(status: u16, code: Option<&str>, message: Option<&[u8]>) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    if let Some(code) = code {
        response = response.header("X-Ca-Error-Code", code);
    }
    if let Some(message) = message {
        response = response.header("X-Ca-Error-Message", message);
    }
    response.header("X-Ca-Request-Id", "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF").body(Bytes::new()).unwrap()
}

fn faults(response: &Response<Bytes>) -> Fault {
    let subject = subject("张三", "11010519491231002X");
    let [one, other] =
        BOTH.map(|driver| sandboxed(driver).protocol.decode_response((&subject).into(), response).unwrap_err());
    assert_eq!(one, other);
    one
}

fn meaning(status: u16, code: Option<&str>, message: Option<&str>) -> (Outcome, Reason) {
    let fault = faults(&gateway(status, code, message.map(str::as_bytes)));
    (fault.outcome, fault.reason)
}

#[test]
fn every_row_of_the_gateway_is_read_and_written() {
    for row in CODES.iter().chain(TEXTS) {
        for driver in BOTH {
            let refusal = Refusal { code: row, retry_after: Some(Duration::from_millis(1500)) };
            let response = answered(driver, Err(refusal), asked("张三", "1"));
            assert_eq!(response.status(), row.status);
            assert!(response.body().is_empty());
            assert_eq!(response.headers()["content-type"], "application/octet-stream");
            let fault = faults(&response);
            let expected = Fault { retry_after: Some(Duration::from_secs(2)), ..row.fault() };
            assert_eq!(Fault { request_id: None, ..fault.clone() }, expected, "{}", row.code);
            assert_eq!(fault.request_id.unwrap().as_str(), "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF");
        }
    }
}

#[test]
fn no_code_has_two_rows() {
    for driver in BOTH {
        let mut codes: Vec<_> = providers::driver(driver).unwrap().all_codes().map(|row| row.code).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}

#[test]
fn every_documented_code_means_what_it_should() {
    use Outcome::{AccountFault, InputRefused, ProviderError, RateLimited, Timeout, Unreadable};
    for (codes, outcome, reason) in [
        ("B403MQ", AccountFault, Reason::QuotaUsedUp),
        ("B403ME", AccountFault, Reason::SubscriptionExpired),
        ("B403MI", AccountFault, Reason::NotActivated),
        ("B403OD B403MO", AccountFault, Reason::Arrears),
        ("A400AC A401AC A400IK A400MA", AccountFault, Reason::KeyRefused),
        ("A403IS", AccountFault, Reason::SignatureRefused),
        ("A403PR A403EP I403AA", AccountFault, Reason::NoPermission),
        ("A403IP A403VN A403AC A403CO A403IN A403FC", AccountFault, Reason::NoPermission),
        ("T429ID T429IN T429GR T429PA T429PR T429SR T429MR T429ZZ", RateLimited, Reason::Unspecified),
        ("D504RE D504IL D504CO D504CS D504TO D504ZZ", Timeout, Reason::Unspecified),
        ("D503BB D503CB D502FC N502RE D503ZZ N502ZZ", ProviderError, Reason::Unspecified),
        ("X504VE X504TO X503BZ X500ER X500ED X500AM X500ZZ", ProviderError, Reason::Unspecified),
        ("I404NF I404DO I404NR I404SR I410GG I405UM I404ZZ", AccountFault, Reason::Misconfigured),
        ("I400HD I400MH I400BD I400PA I400RU I400CT I400SG", Unreadable, Reason::RequestForm),
        ("I400I5 I400NC I400MP I400IP I400JP X400PM I400ZZ", Unreadable, Reason::RequestForm),
        ("I413RL I413UL", InputRefused, Reason::Unspecified),
        ("I403PT X403DG B451DO B451GO", AccountFault, Reason::Misconfigured),
    ] {
        for code in codes.split(' ') {
            let status = code[1..4].parse().unwrap();
            assert_eq!(meaning(status, Some(code), None), (outcome, reason), "{code}");
            assert_eq!(meaning(status, Some(code), Some("Unauthorized")), (outcome, reason), "{code} decides");
        }
    }
    assert_eq!(faults(&gateway(504, Some("D504TO"), None)).billed, Billed::Unknown);
    assert_eq!(faults(&gateway(400, Some("I400HD"), None)).billed, Billed::No);
}

#[test]
fn texts_without_a_code_count_by_how_they_begin_in_any_case() {
    use Outcome::{AccountFault, Interrupted, ProviderError, RateLimited, Timeout, Unreadable};
    for (text, outcome, reason) in [
        ("Quota Exhausted", AccountFault, Reason::QuotaUsedUp),
        ("api market subscription QUOTA exhausted", AccountFault, Reason::QuotaUsedUp),
        ("Api Market Subscription expired at", AccountFault, Reason::SubscriptionExpired),
        ("Quota Expired", AccountFault, Reason::SubscriptionExpired),
        ("Expiry of Authorization", AccountFault, Reason::SubscriptionExpired),
        ("User Arrears", AccountFault, Reason::Arrears),
        ("Provider Account Overdue", AccountFault, Reason::Arrears),
        ("Unauthorized", AccountFault, Reason::NoPermission),
        ("Unauthorized Domain", AccountFault, Reason::Misconfigured),
        ("Throttled by USER Flow Control", RateLimited, Reason::Unspecified),
        ("throttled by APP Flow Control", RateLimited, Reason::Unspecified),
        ("Throttled by API Flow Control", RateLimited, Reason::Unspecified),
        ("Throttled by DOMAIN Flow Control", RateLimited, Reason::Unspecified),
        ("Throttled by GROUP Flow Control", RateLimited, Reason::Unspecified),
        ("Invalid AppCode `not exists`", AccountFault, Reason::KeyRefused),
        ("Invalid AppKey", AccountFault, Reason::KeyRefused),
        ("Invalid AppSecret", AccountFault, Reason::SignatureRefused),
        ("Invalid Signature, Server StringToSign:", AccountFault, Reason::SignatureRefused),
        ("Timestamp Expired", AccountFault, Reason::Clock),
        ("Invalid Timestamp", AccountFault, Reason::Clock),
        ("Nonce Used", Interrupted, Reason::NonceReused),
        ("Empty Signature", Unreadable, Reason::RequestForm),
        ("Invalid Content-MD5", Unreadable, Reason::RequestForm),
        ("API Not Found", AccountFault, Reason::Misconfigured),
        ("Internal Error", ProviderError, Reason::Unspecified),
        ("Failed To Invoke Backend Service", ProviderError, Reason::Unspecified),
        ("Async Service", Timeout, Reason::Unspecified),
    ] {
        for code in [None, Some(""), Some("Q999QQ")] {
            assert_eq!(meaning(403, code, Some(text)), (outcome, reason), "{text}");
        }
    }
}

#[test]
fn a_message_of_raw_utf8_is_compared_and_not_kept() {
    let message = "Invalid Signature, Server StringToSign:`GET#/idcard?sfz=11010519491231002X&xm=张三`";
    let fault = faults(&gateway(403, None, Some(message.as_bytes())));
    assert_eq!((fault.outcome, fault.reason), (Outcome::AccountFault, Reason::SignatureRefused));
    let shown = format!("{fault:?}");
    assert!(!shown.contains("张三") && !shown.contains("1101"), "{shown}");
    assert_eq!(faults(&gateway(403, None, Some(b"quota exhausted \xff\xfe"))).reason, Reason::QuotaUsedUp);
    assert_eq!(faults(&gateway(403, None, Some("配额".as_bytes()))).reason, Reason::UnknownCode);
}

#[test]
fn a_bare_status_says_what_it_can() {
    for (status, expected) in [
        (403, (Outcome::Unreadable, Reason::UnknownCode)),
        (400, (Outcome::Unreadable, Reason::UnknownCode)),
        (204, (Outcome::Unreadable, Reason::UnknownCode)),
        (999, (Outcome::Unreadable, Reason::UnknownCode)),
        (429, (Outcome::RateLimited, Reason::Unspecified)),
        (408, (Outcome::Timeout, Reason::Unspecified)),
        (504, (Outcome::Timeout, Reason::Unspecified)),
        (500, (Outcome::ProviderError, Reason::Unspecified)),
        (503, (Outcome::ProviderError, Reason::Unspecified)),
        (301, (Outcome::Unreadable, Reason::Redirect)),
        (302, (Outcome::Unreadable, Reason::Redirect)),
        (307, (Outcome::Unreadable, Reason::Redirect)),
    ] {
        assert_eq!(meaning(status, None, None), expected, "{status}");
        assert_eq!(meaning(status, None, Some("no known text")), expected, "{status}");
        assert_eq!(meaning(status, Some("Q999QQ"), None), expected, "{status}");
    }
}

#[test]
fn the_gateways_word_comes_before_a_verdict() {
    let subject = subject("张三", "340421190710145418");
    for (driver, body) in [("muzhiyun", r#"{"ok":1,"msg":"实名信息正确","match":true}"#), ("yunyi", "yunyi/match.json")]
    {
        let body = if driver == "yunyi" { fixture(body) } else { body.to_owned() };
        let decode = |response: &Response<Bytes>| {
            verdict(sandboxed(driver).protocol.decode_response((&subject).into(), response))
        };
        let with = |code, message: Option<&[u8]>| {
            let mut response = gateway(200, code, message);
            *response.body_mut() = Bytes::from(body.clone());
            decode(&response)
        };
        assert_eq!(with(None, None), Ok(Verdict::Match));
        assert_eq!(with(None, Some(b"")), Ok(Verdict::Match));
        assert_eq!(with(Some("B403MQ"), None), Err((Outcome::AccountFault, Reason::QuotaUsedUp)));
        assert_eq!(with(Some("Q999QQ"), None), unreadable(Reason::UnknownCode));
        assert_eq!(with(None, Some(b"Unauthorized")), Err((Outcome::AccountFault, Reason::NoPermission)));
        for status in [201, 301, 403, 500] {
            let response = Response::builder().status(status).body(Bytes::from(body.clone())).unwrap();
            assert!(decode(&response).is_err(), "{driver} {status}");
        }
    }
}

#[test]
fn a_pause_is_taken_in_seconds_and_never_longer_than_a_day() {
    let pause = |value: &str| {
        let response = Response::builder().status(429).header("Retry-After", value).body(Bytes::new()).unwrap();
        faults(&response).retry_after
    };
    assert_eq!(pause("7"), Some(Duration::from_secs(7)));
    assert_eq!(pause("18446744073709551615"), Some(Duration::from_secs(86400)));
    assert_eq!(pause("-1"), None);
    assert_eq!(pause("Wed, 21 Oct 2026 07:28:00 GMT"), None);
}

#[test]
fn a_row_of_the_provider_is_not_the_gateways() {
    let row = providers::driver("yunyi").unwrap().all_codes().next().unwrap();
    let refusal = Refusal { code: row, retry_after: None };
    assert!(market_error::encode(&refusal, &reply_to(asked("", ""))).is_none());
}
