//! 云亿互通: every code of its manual, and responses that are not in it.

use idgate::domain::money::Billed;
use serde_json::{Value, json};

use super::*;

/// The number of the manual's samples, with a corrected check character.
const NUMBER: &str = "340421190710145418";

fn on(status: u16, name: &str, body: &str) -> Result<Verdict, (Outcome, Reason)> {
    verdict(heard("yunyi", &subject(name, NUMBER), status, body))
}

fn says(body: Value) -> Result<Verdict, (Outcome, Reason)> {
    on(200, "张三", &body.to_string())
}

fn about(code: &str, message: &str) -> Value {
    json!({"name": "张三", "idNo": NUMBER, "respCode": code, "respMessage": message})
}

#[test]
fn the_samples_of_the_manual_are_read() {
    assert_eq!(on(200, "张三", &fixture("yunyi/match.json")), Ok(Verdict::Match));
    assert_eq!(on(200, "李四", &fixture("yunyi/mismatch.json")), Ok(Verdict::Mismatch));
}

#[test]
fn every_code_of_the_manual_means_what_it_should() {
    let refused = Err((Outcome::InputRefused, Reason::Unspecified));
    for (code, message, expected) in [
        ("0000", "身份证信息匹配", Ok(Verdict::Match)),
        ("0001", "开户名不能为空", refused),
        ("0002", "开户名不能包含特殊字符", refused),
        ("0003", "身份证号不能为空", refused),
        ("0004", "身份证号格式错误", refused),
        ("0007", "无此身份证号码", Ok(Verdict::NoRecord)),
        ("0008", "身份证信息不匹配", Ok(Verdict::Mismatch)),
        ("0010", "系统维护，请稍后再试", Err((Outcome::SourceDown, Reason::Unspecified))),
    ] {
        assert_eq!(says(about(code, message)), expected, "{code}");
        assert_eq!(says(about(code, "换了说法")), expected, "{code} in other words");
    }
}

#[test]
fn any_other_code_is_unknown() {
    for code in ["0005", "0006", "0009", "0011", "9999", "", "0", "00000", " 0000", "０000"] {
        assert_eq!(says(about(code, "身份证信息匹配")), unreadable(Reason::UnknownCode), "{code}");
    }
}

#[test]
fn a_failure_counts_under_any_status_and_nobody_knows_its_price() {
    let body = json!({"respCode": "0004", "respMessage": "身份证号格式错误"}).to_string();
    for status in [200, 400, 500] {
        let fault = heard("yunyi", &subject("张三", NUMBER), status, &body).unwrap_err();
        assert_eq!((fault.outcome, fault.code, fault.billed), (Outcome::InputRefused, Some("0004"), Billed::Unknown));
    }
    assert_eq!(on(302, "张三", &body), unreadable(Reason::Redirect));
}

#[test]
fn the_message_of_another_code_is_a_contradiction() {
    for (code, message) in [
        ("0000", "身份证信息不匹配"),
        ("0000", "无此身份证号码"),
        ("0000", "身份证号格式错误"),
        ("0008", "身份证信息匹配"),
        ("0007", " 身份证信息匹配 "),
    ] {
        assert_eq!(says(about(code, message)), unreadable(Reason::Contradiction), "{code} {message}");
    }
}

#[test]
fn a_verdict_about_somebody_else_is_none() {
    for code in ["0000", "0008", "0007"] {
        for (key, value) in [
            ("name", json!("李四")),
            ("name", json!("张三 ")),
            ("name", json!("张*")),
            ("idNo", json!("340421190210182343")),
            ("idNo", json!(340421190210182343_u64)),
            ("idNo", json!("3404************18")),
        ] {
            let mut body = about(code, "x");
            body[key] = value;
            assert_eq!(says(body.clone()), unreadable(Reason::WrongEcho), "{body}");
        }
    }
}

#[test]
fn a_verdict_without_the_echo_that_the_manual_shows_is_garbage() {
    for nothing in [Value::Null, json!("")] {
        for key in ["name", "idNo"] {
            let without = |code: &str| {
                let mut body = about(code, "x");
                body[key] = nothing.clone();
                says(body)
            };
            assert_eq!(without("0000"), unreadable(Reason::Garbage));
            assert_eq!(without("0008"), unreadable(Reason::Garbage));
            assert_eq!(
                without("0007"),
                Ok(Verdict::NoRecord),
                "the manual shows no echo of a number that is not there"
            );
        }
    }
    assert_eq!(says(json!({"respCode": "0007"})), Ok(Verdict::NoRecord));
    assert_eq!(says(json!({"respCode": "0000"})), unreadable(Reason::Garbage));
}

#[test]
fn numbers_and_a_lower_case_check_character_are_the_same_person() {
    let mut body = about("0000", "身份证信息匹配");
    body["idNo"] = json!(340421190710145418_u64);
    body["age"] = json!(111);
    assert_eq!(says(body), Ok(Verdict::Match));
    let body = r#"{"name":"张三","idNo":"11010519491231002x","respCode":"0000"}"#;
    assert_eq!(verdict(heard("yunyi", &subject("张三", "11010519491231002X"), 200, body)), Ok(Verdict::Match));
}

#[test]
fn what_is_not_the_document_is_garbage() {
    let echo = format!(r#""name":"张三","idNo":"{NUMBER}""#);
    for body in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("{{{echo}}}"),
        format!(r#"{{{echo},"respCode":0}}"#),
        format!(r#"{{{echo},"respCode":null}}"#),
        format!(r#"{{{echo},"respCode":["0000"]}}"#),
        format!(r#"{{{echo},"respCode":"0000""#),
        format!(r#"{{{echo},"respCode":"0008","respCode":"0000"}}"#),
        format!(r#"{{{echo},"respCode":"0000","respCode":"0000"}}"#),
        format!(r#"{{{echo},"respCode":"0008","resp\u0043ode":"0000"}}"#),
        format!(r#"{{"name":"李四",{echo},"respCode":"0000"}}"#),
        format!(r#"{{{echo},"idNo":"1","respCode":"0000"}}"#),
        format!(r#"{{{echo},"respMessage":"身份证信息不匹配","respMessage":"身份证信息匹配","respCode":"0000"}}"#),
        format!(r#"{{"data":{{{echo},"respCode":"0000"}}}}"#),
    ] {
        assert_eq!(on(200, "张三", &body), unreadable(Reason::Garbage), "{body}");
    }
}

#[test]
fn a_verdict_is_written_as_the_sample_is_and_read_back() {
    let response = answered("yunyi", Ok(Verdict::Match), asked("张三", NUMBER));
    let mut expected: Value = serde_json::from_str(&fixture("yunyi/match.json")).unwrap();
    for unknown in ["province", "city", "county", "age"] {
        expected[unknown] = json!("");
    }
    assert_eq!(serde_json::from_slice::<Value>(response.body()).unwrap(), expected);
    for verdict in Verdict::ALL {
        let response = answered("yunyi", Ok(verdict), asked("张三", NUMBER));
        let heard = sandboxed("yunyi").protocol.decode_response((&subject("张三", NUMBER)).into(), &response);
        let finding = heard.unwrap();
        assert_eq!(finding.verdict, verdict);
        assert_eq!(finding.request_id.unwrap().as_str(), "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF");
    }
}

#[test]
fn every_own_refusal_is_read_back() {
    for row in providers::driver("yunyi").unwrap().codes[0] {
        let response = answered("yunyi", Err(Refusal { code: row, retry_after: None }), asked("张三", NUMBER));
        let fault =
            sandboxed("yunyi").protocol.decode_response((&subject("张三", NUMBER)).into(), &response).unwrap_err();
        assert_eq!(Fault { request_id: None, ..fault }, row.fault());
    }
}

#[test]
fn an_answer_about_somebody_else_is_noticed() {
    let driver = sandboxed("yunyi");
    for verdict in Verdict::ALL {
        let other = asked("李四", "11010519491231002X");
        let response = driver.service.encode_wrong_echo(verdict, &reply_to(asked("张三", NUMBER)), &other).unwrap();
        let heard = driver.protocol.decode_response((&subject("张三", NUMBER)).into(), &response);
        assert_eq!(heard.unwrap_err().reason, Reason::WrongEcho);
    }
}
