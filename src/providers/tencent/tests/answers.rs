//! Documented, invented and recorded responses.

use bytes::Bytes;
use http::Response;

use super::fixture;
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::verdict::{Finding, Verdict};
use crate::providers::tencent::reply;

fn heard(status: u16, body: &str) -> Result<Finding, Fault> {
    reply::decode(&Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
}

fn means(status: u16, body: &str) -> Result<Verdict, (Outcome, Reason, Billed)> {
    heard(status, body).map(|found| found.verdict).map_err(|fault| (fault.outcome, fault.reason, fault.billed))
}

#[test]
fn a_result_is_a_verdict_only_as_it_is_documented() {
    let result = |json: &str| means(200, &format!(r#"{{"Response":{{"Result":{json},"RequestId":"r"}}}}"#));
    for (json, verdict) in [("\"0\"", Verdict::Match), ("0", Verdict::Match), ("\"-1\"", Verdict::Mismatch)] {
        assert_eq!(result(json), Ok(verdict), "{json}");
    }
    assert_eq!(result("\"-5\""), Ok(Verdict::NoRecord));
    for odd in ["\"00\"", "\"+0\"", "\" 0\"", "\"-0\"", "\"1\"", "\"-8\"", "\"\""] {
        assert_eq!(result(odd).unwrap_err().1, Reason::UnknownCode, "{odd}");
    }
    for garbage in ["-0", "0.0", "true", "null", "[]", "{}", "[\"0\"]", "\"0\",\"Result\":\"0\""] {
        assert_eq!(result(garbage).unwrap_err().1, Reason::Garbage, "{garbage}");
    }
    let no = Billed::No;
    for (code, outcome) in [
        ("-2", Outcome::InputRefused),
        ("-3", Outcome::InputRefused),
        ("-4", Outcome::SourceDown),
        ("-6", Outcome::SourceDown),
        ("-7", Outcome::SubjectThrottled),
    ] {
        assert_eq!(result(&format!("{code:?}")), Err((outcome, Reason::Unspecified, no)), "{code}");
    }
}

#[test]
fn an_error_counts_under_any_status_and_a_bare_status_for_what_it_is() {
    let error = |code: &str| format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}},"RequestId":"r"}}}}"#);
    for status in [200, 400, 500] {
        let arrears = means(status, &error("UnauthorizedOperation.Arrears"));
        assert_eq!(arrears, Err((Outcome::AccountFault, Reason::Arrears, Billed::No)));
    }
    assert_eq!(means(200, &error("FailedOperation.IdNameMisMatch")).unwrap_err().1, Reason::UnknownCode);
    assert_eq!(means(200, &error("InternalError")).unwrap_err().2, Billed::Unknown);
    assert_eq!(
        heard(200, &error("RequestLimitExceeded")).unwrap_err().retry_after.map(|pause| pause.as_secs()),
        Some(1)
    );
    let both = r#"{"Response":{"Result":"0","Error":{"Code":"InternalError"},"RequestId":"r"}}"#;
    assert_eq!(means(200, both).unwrap_err().1, Reason::Contradiction);
    for (status, body, outcome, reason) in [
        (500, "", Outcome::ProviderError, Reason::Unspecified),
        (502, "<html>", Outcome::ProviderError, Reason::Unspecified),
        (429, "", Outcome::RateLimited, Reason::Unspecified),
        (307, "", Outcome::Unreadable, Reason::Redirect),
        (404, "", Outcome::Unreadable, Reason::Garbage),
        (200, "", Outcome::Unreadable, Reason::Garbage),
        (200, "{}", Outcome::Unreadable, Reason::Garbage),
        (200, r#"{"Response":null}"#, Outcome::Unreadable, Reason::Garbage),
        (200, r#"{"Response":["0"]}"#, Outcome::Unreadable, Reason::Garbage),
        (200, r#"{"code":4100,"message":"m","codeDesc":"AuthFailure"}"#, Outcome::Unreadable, Reason::Garbage),
        (400, r#"{"Response":{"Result":"0"}}"#, Outcome::Unreadable, Reason::Garbage),
    ] {
        let fault = means(status, body).unwrap_err();
        assert_eq!((fault.0, fault.1), (outcome, reason), "{status} {body}");
    }
}

/// Each response of the transcript with the result of the vendor's client. A verdict that we read must be the client's
/// Result.
#[test]
fn recorded_answers_mean_what_the_vendors_client_reads_or_less() {
    let text = fixture("transcripts/tencent-python.txt");
    let mut verdicts = 0;
    for section in text.split("\n--- answer\n").skip(1) {
        let Some((answer, outcome)) = section.split_once("\n--- python") else { continue };
        let lines: Vec<_> = answer.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
        let Some(status) = lines[0].strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()) else {
            continue;
        };
        let body = lines.iter().skip_while(|line| !line.is_empty()).skip(1).copied().collect::<Vec<_>>().join("\n");
        let heard = means(status, body.trim());
        let says = |result: &str| outcome.contains(&format!("\"returned\", \"Result\": {result},"));
        if let Ok(verdict) = heard {
            let expected = match verdict {
                Verdict::Match => says("\"0\"") || says("0"),
                Verdict::Mismatch => says("\"-1\""),
                Verdict::NoRecord => says("\"-5\""),
            };
            // The client rejects some valid responses: those with a wrong length, or with an empty error next to the
            // Result.
            let is_lost =
                body.contains("\"Error\":null") || body.contains("\"Error\": null") || outcome.contains("raised");
            assert!(expected || is_lost, "{answer}\n{outcome}");
            verdicts += 1;
        }
    }
    assert!(verdicts >= 5, "{verdicts}");
}
