//! Malformed bodies get the right code, and the problem names the member but never quotes the value.

use std::sync::Arc;

use super::{Raw, assert_problem, errors};
use crate::support::{TestGateway, anybody};

/// Values that no response may contain.
const NAME: &str = "龘靐齉";
const NUMBER: &str = "110101190307250010";
const BOTH: &str = r#""name": "龘靐齉", "id_number": "110101190307250010""#;

fn about(name: &str, id_number: &str, reference: &str) -> Vec<u8> {
    format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"reference\": \"{reference}\"}}").into()
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_named_and_not_quoted() {
    let gateway = TestGateway::new().start().await;
    let question = |more: &str| format!("{{{BOTH}{more}}}");
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), "", "not_json"),
        (b"{".to_vec(), "", "not_json"),
        (b"\xef\xbb\xbf{}".to_vec(), "", "not_json"),
        (NUMBER.into(), "", "not_an_object"),
        (format!("\"{NAME}\"").into(), "", "not_an_object"),
        (format!("[{{{BOTH}}}]").into(), "", "not_an_object"),
        (b"null".to_vec(), "", "not_an_object"),
        (format!("{{'name': '{NAME}'}}").into(), "", "not_json"),
        (format!("name={NAME}&id_number={NUMBER}").into(), "", "not_json"),
        (question("").replace('"', "\u{201c}").into(), "", "not_json"),
        (question(",").into(), "", "not_json"),
        ((question("") + NUMBER).into(), "", "not_json"),
        ((question("") + &question("")).into(), "", "not_json"),
        ([question("").as_bytes(), b"\0"].concat(), "", "not_json"),
        (format!("{{\"name\": \"{NAME}").into(), "/name", "not_json"),
        (format!("{{\"name\": \"{NAME}\0\"}}").into(), "/name", "not_json"),
        ([b"{\"name\": \"", &b"\xff\xfe"[..], b"\"}"].concat(), "/name", "not_json"),
        ([b"{\"\xff\": \"", NAME.as_bytes(), b"\"}"].concat(), "", "not_json"),
        (format!("{{\"name\": \"{NAME}\\ud800\"}}").into(), "/name", "not_json"),
        (format!("{{\"name\": \"{NAME}\\udc00\\ud800\"}}").into(), "/name", "not_json"),
        (format!("{{\"id_number\": {NUMBER}}}").into(), "/id_number", "wrong_type"),
        (format!("{{\"id_number\": {NUMBER}{NUMBER}{NUMBER}.5e3}}").into(), "/id_number", "wrong_type"),
        (format!("{{\"id_number\": {NUMBER}e999999}}").into(), "/id_number", "not_json"),
        (format!("{{\"id_number\": 0{NUMBER}}}").into(), "/id_number", "not_json"),
        (format!("{{\"id_number\": NaN, \"name\": \"{NAME}\"}}").into(), "/id_number", "not_json"),
        (format!("{{\"name\": [\"{NAME}\"]}}").into(), "/name", "wrong_type"),
        (format!("{{\"name\": {{\"{NAME}\": \"{NUMBER}\"}}}}").into(), "/name", "wrong_type"),
        (b"{\"name\": null}".to_vec(), "/name", "wrong_type"),
        (b"{\"name\": true}".to_vec(), "/name", "wrong_type"),
        (question(&format!(", \"include_person\": \"{NAME}\"")).into(), "/include_person", "wrong_type"),
        (question(&format!(", \"purpose\": {NUMBER}")).into(), "/purpose", "wrong_type"),
        (question(", \"reference\": null").into(), "/reference", "wrong_type"),
        (question(&format!(", \"name\": \"{NAME}\"")).into(), "/name", "duplicate_member"),
        (question(&format!(", \"id_number\": \"{NUMBER}\"")).into(), "/id_number", "duplicate_member"),
        (question(", \"nonce\": 1").into(), "/nonce", "unknown_member"),
        (question(&format!(", \"{NAME}\": 1")).into(), "", "unknown_member"),
        (question(&format!(", \"{NUMBER}\": 1")).into(), "", "unknown_member"),
        (question(", \"a/b\": 1").into(), "", "unknown_member"),
        (question(", \"purpose\": \"\"").into(), "/purpose", "bad_length"),
        (question(", \"reference\": \"\"").into(), "/reference", "bad_length"),
        (question(&format!(", \"reference\": \"{}\"", "r".repeat(129))).into(), "/reference", "bad_length"),
        (question(&format!(", \"reference\": \"{NAME}\"")).into(), "/reference", "bad_character"),
        (question(", \"reference\": \"two words\"").into(), "/reference", "bad_character"),
        (question(&format!(", \"reference\": \"order-{NUMBER}\"")).into(), "/reference", "holds_id_number"),
        (question(", \"reference\": \"110101-19030725-0010\"").into(), "/reference", "holds_id_number"),
        (question(", \"reference\": \"of-11010519491231002x\"").into(), "/reference", "holds_id_number"),
        (about("SMITH JOHN", "ABC110119850101", "pay-abc-1101-1985-0101"), "/reference", "holds_id_number"),
        (about("SMITH JOHN", "ABC110119850101", "payout-JohnSmith-1"), "/reference", "holds_id_number"),
        (about(NAME, "１１０１０５４９１２３１００２", "pay-110105491231002"), "/reference", "holds_id_number"),
        (about(NAME, "11010519491231002X", "pay-110105-491231-002"), "/reference", "holds_id_number"),
        (question(", \"reference\": \"idg_synthetic-key\"").into(), "/reference", "holds_key"),
    ];
    for (body, pointer, reason) in cases {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let reply = gateway.post(body, &[]).await;
        assert_problem(&reply, 400, "malformed_request");
        let first = errors(&reply).into_iter().next();
        assert_eq!(first, Some((pointer.to_owned(), reason.to_owned())), "{shown}");
        let text = reply.body.to_string();
        for value in [NAME, NUMBER, "19030725", "11010519491231002"] {
            assert!(!text.contains(value), "{shown}: {text}");
        }
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}

/// Issue 13, line 20: bytes of GBK that happen to be valid UTF-8 were asked, and paid for, as another name.
#[tokio::test]
async fn a_charset_that_is_not_utf8_is_refused_before_anything_is_paid() {
    let gateway = TestGateway::new().start().await;
    for charset in ["GBK", "\"gb18030\"", "iso-8859-1", "utf-16"] {
        let mut raw = Raw::to(&gateway).await;
        let body = anybody().body().to_string();
        let length = body.len();
        raw.say(format!(
            "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json; charset={charset}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await;
        let reply = raw.rest().await;
        assert!(reply.starts_with("HTTP/1.1 415") && reply.contains("unsupported_charset"), "{charset}: {reply}");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}

#[tokio::test]
async fn all_mistakes_are_named_in_one_answer() {
    let gateway = TestGateway::new().start().await;
    let reply = gateway.post(r#"{"name": 1, "reference": 2, "colour": 3, "include_person": "yes"}"#, &[]).await;
    let pointers: Vec<_> = errors(&reply).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/name", "/reference", "/colour", "/include_person", "/id_number"]);
}

#[tokio::test]
async fn a_reference_of_the_callers_own_is_taken_whatever_its_digits() {
    let gateway = TestGateway::new().start().await;
    for reference in ["20261122080000123456", "0199f3b2-7c1e-7c55-9d0a-4c2f0f6b9a11", "!~", &"9".repeat(128)] {
        let mut body = anybody().body();
        body["reference"] = reference.into();
        assert_eq!(gateway.post(body.to_string(), &[]).await.verdict(), "match", "{reference}");
    }
}

#[tokio::test]
async fn a_megabyte_and_a_hundred_thousand_brackets_are_refused_cleanly() {
    let gateway = TestGateway::new().start().await;
    let huge = format!("{{\"name\": \"{}\"}}", NAME.repeat(120_000));
    assert!(huge.len() > 1_000_000);
    assert_problem(&gateway.post(huge, &[]).await, 413, "payload_too_large");

    let roomy = TestGateway::new().over("[server]\nmax_body_bytes = 4000000").start().await;
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), format!("{{\"name\": {}", "[".repeat(100_000))] {
        assert_problem(&roomy.post(deep, &[]).await, 400, "malformed_request");
    }
    let many: String = (0..50_000).map(|n| format!("\"m{n}\": {n}, ")).collect();
    let reply = roomy.post(format!("{{{many}{BOTH}}}"), &[]).await;
    assert_problem(&reply, 400, "malformed_request");
    assert_eq!(errors(&reply).len(), 1, "a mistake that occurs often is named once");
    let long = format!("{{\"id_number\": \"{NUMBER}\", \"name\": \"{}\"}}", NAME.repeat(300_000));
    assert_problem(&roomy.post(long, &[]).await, 422, "invalid_name");
    let long = format!("{{\"id_number\": \"{}\", \"name\": \"{NAME}\"}}", NUMBER.repeat(100_000));
    assert_problem(&roomy.post(long, &[]).await, 422, "invalid_id_number");
}

#[tokio::test]
async fn what_a_name_or_number_may_not_hold_is_refused_by_our_own_rules() {
    let gateway = TestGateway::new().start().await;
    for name in ["", " ", "\\u0000", "张\\u0000三", "\\u202e", "1", "龘靐齉110101190307250010", "\\ud83d\\ude00"] {
        let reply = gateway.post(format!("{{\"name\": \"{name}\", \"id_number\": \"11010519491231002X\"}}"), &[]).await;
        assert_problem(&reply, 422, "invalid_name");
        assert!(!reply.body.to_string().contains("龘"), "{reply:?}");
    }
    for number in ["", "0", "1101011903072500100", "11010119030725001X", "110101190313250012", "110101********0012"] {
        let reply = gateway.post(format!("{{\"name\": \"龘靐齉\", \"id_number\": \"{number}\"}}"), &[]).await;
        assert_problem(&reply, 422, "invalid_id_number");
        assert!(number.len() < 2 || !reply.body.to_string().contains(number), "{reply:?}");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}

/// One body from a seed: a mutated request, a request assembled from odd parts, or random bytes.
fn random_body(chance: &mut fastrand::Rng) -> Vec<u8> {
    const KEYS: [&str; 9] = [
        "\"name\"",
        "\"id_number\"",
        "\"purpose\"",
        "\"reference\"",
        "\"include_person\"",
        "\"龘靐齉\"",
        "\"\"",
        "name",
        "\"\\ud800\"",
    ];
    const VALUES: [&str; 20] = [
        "\"龘靐齉\"",
        "\"110101190307250010\"",
        "110101190307250010",
        "\"default\"",
        "\"order-1\"",
        "true",
        "null",
        "[]",
        "{}",
        "[[[[[[\"龘靐齉\"]]]]]]",
        "{\"name\": {\"name\": 1}}",
        "1e400",
        "-0",
        "\"\\u0000\"",
        "\"\\ud83d\"",
        "\"\u{202e}\"",
        "\"",
        "1.5.5",
        "\"SAMPLE, TEST ANN\"",
        "\"911840199001019987\"",
    ];
    match chance.u8(..4) {
        0 => (0..chance.usize(..200)).map(|_| chance.u8(..)).collect(),
        1 => {
            let member = |chance: &mut fastrand::Rng| {
                format!("{}: {}", KEYS[chance.usize(..KEYS.len())], VALUES[chance.usize(..VALUES.len())])
            };
            let members: Vec<_> = (0..chance.usize(..6)).map(|_| member(chance)).collect();
            format!("{{{}}}", members.join(", ")).into_bytes()
        }
        _ => {
            let mut body = format!("{{{BOTH}, \"reference\": \"order-1\", \"include_person\": true}}").into_bytes();
            for _ in 0..chance.usize(1..8) {
                if body.is_empty() {
                    break;
                }
                let at = chance.usize(..body.len());
                match chance.u8(..4) {
                    0 => body[at] = chance.u8(..),
                    1 => drop(body.remove(at)),
                    2 => body.insert(at, *chance.choice(b"{}[]\",:\\0\0\xff").unwrap()),
                    _ => body.truncate(at.max(1)),
                }
            }
            body
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_bodies_break_nothing_and_are_never_quoted() {
    const CONNECTIONS: u64 = 8;
    const BODIES: u64 = 10_000;
    // Each mutated name is a new pair; the high limit keeps the holds out of this test.
    let gateway = Arc::new(TestGateway::new().chain(&["yunyi"]).over("[holds]\ncalls = 1000000").start().await);
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..CONNECTIONS {
        let gateway = Arc::clone(&gateway);
        tasks.spawn(async move {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut raw = Raw::to(&gateway).await;
            for round in 0..BODIES / CONNECTIONS {
                let body = random_body(&mut chance);
                let head = "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length:";
                raw.say([format!("{head} {}\r\n\r\n", body.len()).as_bytes(), &body].concat()).await;
                let (status, head, answer) = raw.answer().await;
                let shown = format!("seed {seed}, round {round}: {}", String::from_utf8_lossy(&body));
                assert!([200, 400, 403, 422].contains(&status), "{shown}\n{head}\n{answer}");
                assert_eq!(status == 200, answer["verdict"] == "match", "{shown}\n{answer}");
                let text = format!("{head}{answer}");
                let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
                assert!(longest < 15 && !text.contains(['龘', '靐', '齉']), "{shown}\n{text}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(gateway.metric("idgate_requests_total", &[]).await, BODIES as f64);
    assert_eq!(gateway.metric("idgate_requests_total", &[("status", "500")]).await, 0.0);
}
