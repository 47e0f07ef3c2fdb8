//! 拇指云: every row of its documentation page, and responses that are not on it.

use idgate::domain::money::Billed;
use serde_json::{Value, json};

use super::*;

/// A person whose data fits the masked sample of the page.
const NAME: &str = "庆小满";
const NUMBER: &str = "350521199003161812";

fn on(status: u16, body: &str) -> Result<Verdict, (Outcome, Reason)> {
    verdict(heard("muzhiyun", &subject(NAME, NUMBER), status, body))
}

fn says(status: u16, body: Value) -> Result<Verdict, (Outcome, Reason)> {
    on(status, &body.to_string())
}

#[test]
fn the_samples_of_the_page_are_read() {
    assert_eq!(on(200, &fixture("muzhiyun/match.json")), Ok(Verdict::Match));
    let failure = on(666, &fixture("muzhiyun/failure.json"));
    assert_eq!(failure, Err((Outcome::InputRefused, Reason::Unspecified)));
}

#[test]
fn a_result_is_known_by_its_text_with_either_colon_and_whatever_follows() {
    for (text, expected) in [
        ("实名校验失败:身份证与姓名不匹配key", Verdict::Mismatch),
        ("实名校验失败：身份证与姓名不匹配", Verdict::Mismatch),
        ("实名校验失败:查无记录key", Verdict::NoRecord),
        (" 实名校验失败：查无记录。", Verdict::NoRecord),
    ] {
        for matched in [Value::Null, json!(false)] {
            assert_eq!(says(200, json!({"ok": 1, "msg": text, "match": matched})), Ok(expected), "{text}");
        }
        assert_eq!(says(200, json!({"ok": 1, "msg": text})), Ok(expected), "{text}");
    }
    assert_eq!(says(200, json!({"ok": 1, "msg": "实名信息一致", "match": true})), Ok(Verdict::Match));
}

#[test]
fn every_failure_of_the_page_is_known_and_free() {
    let ours = (Outcome::InputRefused, Reason::Unspecified);
    let account = |reason| (Outcome::AccountFault, reason);
    for (text, expected) in [
        ("未传入真实姓名xmkey", ours),
        ("未传入身份证号码sfzkey", ours),
        ("传入真实姓名xm字符串长度超限key", ours),
        ("传入身份证号码sfz字符串长度超限key", ours),
        ("姓名有误key", ours),
        ("身份证号码有误key", ours),
        ("未传入开发者账号appid", account(Reason::Misconfigured)),
        ("传入开发者账号appid字符串长度超限", account(Reason::Misconfigured)),
        ("未传入查询时间sendtime", account(Reason::Misconfigured)),
        ("传入查询时间sendtime字符串长度超限", account(Reason::Misconfigured)),
        ("时间戳超时，请重新请求", account(Reason::Clock)),
        ("未传入签名sign", account(Reason::Misconfigured)),
        ("传入签名sign字符串长度超限", account(Reason::Misconfigured)),
        ("签名校验失败", account(Reason::SignatureRefused)),
        ("存在*字符，视为调试数据。止于当前结果。", (Outcome::Unreadable, Reason::RequestForm)),
        ("非法来源", account(Reason::NoPermission)),
        ("appid:1234567接口已停用", account(Reason::KeyRefused)),
        ("appid：1234567接口已停用", account(Reason::KeyRefused)),
        ("今天不想工作", (Outcome::Unreadable, Reason::UnknownCode)),
    ] {
        for ok in [0, 7] {
            let body = json!({"ok": ok, "msg": text}).to_string();
            let fault = heard("muzhiyun", &subject(NAME, NUMBER), 666, &body).unwrap_err();
            assert_eq!((fault.outcome, fault.reason), expected, "{text}");
            assert_eq!(fault.billed, Billed::No, "{text}");
        }
    }
}

#[test]
fn an_unknown_text_is_never_a_mismatch() {
    for text in ["", "实名校验失败", "实名校验失败:系统异常", "身份证与姓名不匹配", "姓名有误", "查无记录"]
    {
        assert_eq!(says(200, json!({"ok": 1, "msg": text})), unreadable(Reason::UnknownCode), "{text}");
        assert_eq!(says(200, json!({"ok": 1, "msg": text, "match": false})), unreadable(Reason::UnknownCode), "{text}");
    }
}

#[test]
fn fields_that_contradict_each_other_are_no_verdict() {
    for (status, body) in [
        (200, json!({"ok": 1, "msg": "实名校验失败:身份证与姓名不匹配", "match": true})),
        (200, json!({"ok": 1, "msg": "实名校验失败：查无记录", "match": true})),
        (200, json!({"ok": 1, "msg": "实名校验失败:系统异常", "match": true})),
        (200, json!({"ok": 1, "msg": "姓名有误key", "match": true})),
        (200, json!({"ok": 1, "msg": "实名信息正确", "match": false})),
        (200, json!({"ok": 1, "msg": "实名信息正确"})),
        (200, json!({"ok": 0, "msg": "实名信息正确", "match": true})),
        (200, json!({"ok": 0, "msg": "姓名有误"})),
        (200, json!({"ok": 0, "msg": "实名校验失败:身份证与姓名不匹配"})),
        (666, json!({"ok": 1, "msg": "实名信息正确", "match": true})),
        (666, json!({"ok": 1, "msg": "实名校验失败:查无记录"})),
        (666, json!({"ok": 0, "msg": "姓名有误", "match": true})),
    ] {
        assert_eq!(says(status, body.clone()), unreadable(Reason::Contradiction), "{status} {body}");
    }
}

#[test]
fn what_is_not_the_document_is_garbage() {
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "<html>",
        r#"{"ok":1,"msg":"实名信息正确","match":true"#,
        r#"{"ok":1,"msg":"实名信息正确","match":true} x"#,
        r#"{"ok":1,"msg":"实名信息正确","match":"true"}"#,
        r#"{"ok":1,"msg":"实名信息正确","match":1}"#,
        r#"{"ok":"1","msg":"实名信息正确","match":true}"#,
        r#"{"ok":1,"match":true}"#,
        r#"{"ok":1,"msg":null,"match":true}"#,
        r#"{"msg":"实名信息正确","match":true}"#,
        r#"{"ok":1,"msg":"实名信息正确","match":true,"xm":[]}"#,
        r#"{"ok":1,"msg":"实名信息正确","match":false,"match":true}"#,
        r#"{"ok":1,"msg":"实名信息正确","match":true,"match":true}"#,
        r#"{"ok":0,"ok":1,"msg":"实名信息正确","match":true}"#,
        r#"{"ok":1,"msg":"实名校验失败:查无记录","msg":"实名信息正确","match":true}"#,
        r#"{"ok":1,"msg":"实名信息正确","m\u0061tch":false,"match":true}"#,
        r#"{"ok":1,"msg":"实名信息正确","match":true,"xm":"张三","xm":"庆**"}"#,
    ] {
        assert_eq!(on(200, body), unreadable(Reason::Garbage), "{body}");
        let fault = heard("muzhiyun", &subject(NAME, NUMBER), 666, body).unwrap_err();
        assert_eq!((fault.reason, fault.billed), (Reason::Garbage, Billed::No), "{body}");
    }
    // GBK bytes, not UTF-8.
    let body = Bytes::from([&br#"{"ok":1,"msg":""#[..], b"\xca\xb5\xc3\xfb", br#"","match":true}"#].concat());
    let response = Response::builder().status(200).body(body).unwrap();
    let heard = sandboxed("muzhiyun").protocol.decode_response((&subject(NAME, NUMBER)).into(), &response);
    assert_eq!(verdict(heard), unreadable(Reason::Garbage));
}

#[test]
fn unknown_members_are_tolerated() {
    let body = json!({"ok": 1, "msg": "实名信息正确", "match": true, "birthday": 7, "sex": [], "new": {"ok": 0}});
    assert_eq!(says(200, body), Ok(Verdict::Match));
}

#[test]
fn an_echo_must_fit_the_person_who_was_asked_about() {
    for (xm, sfz) in [
        (json!(null), json!(null)),
        (json!(""), json!("")),
        (json!("庆**"), json!("3505*****12")),
        (json!("***"), json!("******************")),
        (json!("庆小满"), json!(NUMBER)),
        (json!("*小满"), json!(350521199003161812_u64)),
        (json!("庆＊满"), json!("3505**********1812")),
    ] {
        for (msg, matched, expected) in [
            ("实名信息正确", true, Verdict::Match),
            ("实名校验失败:身份证与姓名不匹配", false, Verdict::Mismatch),
            ("实名校验失败:查无记录", false, Verdict::NoRecord),
        ] {
            let body = json!({"ok": 1, "msg": msg, "match": matched, "xm": xm, "sfz": sfz});
            assert_eq!(says(200, body.clone()), Ok(expected), "{body}");
            for (xm, sfz) in [
                (json!("张**"), sfz.clone()),
                (json!("张三"), sfz.clone()),
                (json!("庆小满满"), sfz.clone()),
                (xm.clone(), json!("3505*****13")),
                (xm.clone(), json!("4505*****12")),
                (xm.clone(), json!("350521199003161820")),
            ] {
                let body = json!({"ok": 1, "msg": msg, "match": matched, "xm": xm, "sfz": sfz});
                assert_eq!(says(200, body.clone()), unreadable(Reason::WrongEcho), "{body}");
            }
        }
    }
    let x = subject("张三", "11010519491231002X");
    let body = r#"{"ok":1,"msg":"实名信息正确","match":true,"sfz":"1101*****2x"}"#;
    assert_eq!(verdict(heard("muzhiyun", &x, 200, body)), Ok(Verdict::Match));
}

#[test]
fn a_verdict_is_written_as_the_sample_is_and_read_back() {
    let response = answered("muzhiyun", Ok(Verdict::Match), asked(NAME, NUMBER));
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-ca-request-id"], "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF");
    let mut sample: Value = serde_json::from_str(&fixture("muzhiyun/match.json")).unwrap();
    sample.as_object_mut().unwrap().remove("address");
    assert_eq!(serde_json::from_slice::<Value>(response.body()).unwrap(), sample);
    for verdict in Verdict::ALL {
        for (name, number) in [(NAME, NUMBER), ("买买提·艾合买提", "11010519491231002X"), ("某", "440524188001010014")]
        {
            let response = answered("muzhiyun", Ok(verdict), asked(name, number));
            let finding =
                sandboxed("muzhiyun").protocol.decode_response((&subject(name, number)).into(), &response).unwrap();
            assert_eq!(finding.verdict, verdict);
            assert_eq!(finding.request_id.unwrap().as_str(), "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF");
        }
    }
}

#[test]
fn whatever_a_caller_sent_is_masked_without_harm() {
    for (name, number) in [("", ""), ("某", "1"), ("张三", "身份证号码一二三四五六七八九十"), ("𠮷", "110105491231002")]
    {
        for verdict in Verdict::ALL {
            assert_eq!(answered("muzhiyun", Ok(verdict), asked(name, number)).status(), 200);
        }
    }
}

#[test]
fn every_own_refusal_comes_under_666_and_is_read_back() {
    for row in providers::driver("muzhiyun").unwrap().codes[0] {
        let refusal = Refusal { code: row, retry_after: None };
        let response = answered("muzhiyun", Err(refusal), asked(NAME, NUMBER));
        assert_eq!(response.status().as_u16(), 666);
        let heard = sandboxed("muzhiyun").protocol.decode_response((&subject(NAME, NUMBER)).into(), &response);
        let fault = heard.unwrap_err();
        assert_eq!(Fault { request_id: None, ..fault }, row.fault());
    }
}

#[test]
fn an_answer_about_somebody_else_is_noticed() {
    let driver = sandboxed("muzhiyun");
    for verdict in Verdict::ALL {
        let other = asked("张三", "11010519491231002X");
        let response = driver.service.encode_wrong_echo(verdict, &reply_to(asked(NAME, NUMBER)), &other).unwrap();
        let heard = driver.protocol.decode_response((&subject(NAME, NUMBER)).into(), &response);
        assert_eq!(heard.unwrap_err().reason, Reason::WrongEcho);
        assert_eq!(
            driver
                .protocol
                .decode_response((&subject("张三", "11010519491231002X")).into(), &response)
                .unwrap()
                .verdict,
            verdict
        );
    }
}
