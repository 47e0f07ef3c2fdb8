//! What callers write into headers reaches neither the log nor an answer if it may be an ID number or the name of the
//! person in question.

use super::{LogFile, bearer, client};
use crate::support::{Pair, TestGateway};

#[tokio::test]
async fn an_id_number_in_a_callers_header_reaches_no_log() {
    let log = LogFile::new();
    let section = client("payout", "idg_synthetic", "");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(section).access_log(log.log.clone()).start().await;
    let foreigner = Pair::new("SMITH JOHN", "ABC110119850101");
    let resident = Pair::new("张三", "11010519491231002X");
    let trace = |id: &str| format!("00-{id:0>32}-00f067aa0ba902b7-01");
    for (pair, header, value) in [
        (&resident, "x-request-id", "110105491231002"),
        (&resident, "x-request-id", "110105-491231-002"),
        (&resident, "x-request-id", "pay.1101054912310021"),
        (&resident, "x-request-id", "USA310119850101"),
        (&foreigner, "x-request-id", "abc-1101-1985-0101"),
        (&foreigner, "x-request-id", "payout-SmithJohn-1"),
        (&foreigner, "x-request-id", "john.smith"),
        (&resident, "traceparent", &trace("110105491231002")),
        (&resident, "traceparent", &trace("350521199003071016")),
        (&resident, "traceparent", &trace("350521199003071016abc")),
        (&foreigner, "traceparent", &trace("abc110119850101")),
        (&resident, "tracestate", "vendor=350521199003071016"),
        (&resident, "user-agent", "350521199003071016"),
        (&resident, "referer", "https://example.com/350521199003071016"),
        (&resident, "baggage", "person=350521199003071016"),
        (&resident, "forwarded", "for=350521199003071016"),
    ] {
        let key = bearer("idg_synthetic");
        let reply = gateway.ask_with(pair, &[(header, value), ("authorization", &key)]).await;
        let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect() };
        let (echo, body) = (reply.header("x-request-id"), reply.body.to_string());
        assert_ne!(echo, value, "{header}: {value}");
        assert!([200, 422].contains(&reply.status.as_u16()), "{body}");
        let lines = log.lines();
        let line = lines.last().unwrap();
        assert!(line.get("trace_id").is_none(), "{header}: {value}: {line}");
        assert_ne!(line["request_id"], value, "{header}: {value}");
        let sent = digits(value);
        assert!(
            !digits(&line.to_string()).contains(&sent) && !digits(&body).contains(&sent),
            "{header}: {value}: {line}"
        );
    }
    // Ids as callers make them are kept.
    for value in ["payout-4711", "0197f2a6-5f0e-7c3a-9a51-1c3f1d2e4b5a", "INV202611280001"] {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let key = bearer("idg_synthetic");
        let reply = gateway
            .ask_with(&foreigner, &[("x-request-id", value), ("traceparent", trace), ("authorization", &key)])
            .await;
        assert_eq!(reply.header("x-request-id"), value);
        let lines = log.lines();
        assert_eq!(lines.last().unwrap()["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}
