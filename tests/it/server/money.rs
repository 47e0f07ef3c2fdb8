//! The console shows what a day and a month have cost, by provider, client and purpose.

use http::StatusCode;
use idgate::domain::clock::{Clock, date_in_china, start_in_china};
use jiff::{SignedDuration, Timestamp};

use super::console::{Browser, ON, key, operator};
use crate::ledger::Folder;
use crate::support::{Pair, TIMELESS, TestGateway, client, person};

const NUMBER: &str = "11010519491231002X";

/// A connection that breaks after the question was read: nobody knows whether it is billed.
const RESET: &str = r#"{"kind": "reset"}"#;

/// The question for this purpose.
async fn ask(gateway: &TestGateway, pair: &Pair, purpose: &str) {
    let mut body = pair.body();
    body["purpose"] = purpose.into();
    gateway.post(body.to_string(), &[]).await;
}

/// Begins at noon of this day in China, so that the day does not end during a test.
fn noon() -> Clock {
    let start = Timestamp::now();
    let ahead = start_in_china(date_in_china(start)).unwrap() + SignedDuration::from_hours(12) - start;
    Clock::new(move || Timestamp::now() + ahead)
}

/// A gateway whose ledger has a billed call, two answers from the cache, and a call of which nobody knows.
async fn gateway(folder: &Folder) -> TestGateway {
    let prices = "[providers.yunyi]\nprice_yuan = { match = \"0.3\", mismatch = \"0.5\", no_record = \"0\" }\n";
    let purposes = "[purposes.payout]\n[purposes.audit]\non_unknown = \"stop\"\n";
    let gateway = folder.gateway().chain(&[TIMELESS]).clock(noon()).over(ON).over(prices).over(purposes);
    let gateway = gateway.over(operator("vera", "viewer")).start().await;
    for _ in 0..3 {
        ask(&gateway, &person(1), "payout").await;
    }
    gateway.fault(TIMELESS, RESET);
    ask(&gateway, &person(2), "audit").await;
    gateway.mend(TIMELESS);
    gateway
}

/// The text of an element, without what is in pointed brackets; cells with a bar between them.
fn text_of(html: &str) -> String {
    let (mut text, mut is_tag) = (String::new(), false);
    for part in html.replace("</th>", "|").replace("</td>", "|").replace("</tr>", "\n").chars() {
        match part {
            '<' => is_tag = true,
            '>' => is_tag = false,
            _ if !is_tag => text.push(part),
            _ => {}
        }
    }
    text
}

#[tokio::test]
async fn a_day_and_a_month_are_shown_by_provider_client_and_purpose() {
    let folder = Folder::new();
    let gateway = gateway(&folder).await;
    let mut vera = Browser::signed_in(&gateway, &key("vera")).await;
    let money = vera.get(&gateway, "/console/money").await.text;
    for title in ["Day by day", "Month by month"] {
        let table = money.split_once(title).unwrap().1;
        let link = table.split_once("href=\"").unwrap().1.split('"').next().unwrap();
        let shown = vera.get(&gateway, link).await;
        assert!(shown.status == StatusCode::OK && shown.text.len() < 100_000, "{link}");
        let text = text_of(&shown.text);
        for row in [
            "yunyi|anonymous|payout|1|¥0.300|¥0.000|2|¥0.600|\n",
            "yunyi|anonymous|audit|1|¥0.000|¥0.500|0|¥0.000|\n",
            "By provider",
            "yunyi|2|¥0.300|¥0.500|2|¥0.600|\n",
            "anonymous|2|¥0.300|¥0.500|2|¥0.600|\n",
            "payout|1|¥0.300|¥0.000|2|¥0.600|\n",
            "present configuration",
        ] {
            assert!(text.contains(row), "{link}: {row}: {text}");
        }
        assert!(!shown.text.contains("no longer configured") && shown.text.contains("aria-current=\"page\""));
        let address = shown.text.split_once("as=csv").unwrap().0.rsplit_once('"').unwrap().1.replace("&amp;", "&");
        let file = vera.get(&gateway, &format!("{address}as=csv")).await;
        assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
        assert!(file.headers["content-disposition"].to_str().unwrap().contains("filename=\"money-20"));
        let rows: Vec<_> = file.text.lines().skip(1).collect();
        let expected = ["yunyi,anonymous,audit,1,0,500000,0,0,0", "yunyi,anonymous,payout,1,300000,0,2,600000,0"];
        assert_eq!(rows, expected, "{}", file.text);
    }
    let empty = vera.get(&gateway, "/console/money?day=2020-02-29").await;
    assert!(empty.status == StatusCode::OK && empty.text.contains("Nothing was spent or saved"), "{}", empty.text);
}

#[tokio::test]
async fn what_is_no_period_is_refused_by_the_name_of_its_parameter() {
    let folder = Folder::new();
    let gateway = folder.gateway().over(ON).over(operator("vera", "viewer")).start().await;
    let mut vera = Browser::signed_in(&gateway, &key("vera")).await;
    for (query, parameter) in [
        (format!("day={NUMBER}"), "parameter day"),
        (format!("month={NUMBER}"), "parameter month"),
        (format!("day=2026-11-22&as={NUMBER}"), "parameter as"),
        ("day=2026-11-22&month=2026-11".to_owned(), "day and month"),
    ] {
        let shown = vera.get(&gateway, &format!("/console/money?{query}")).await;
        assert_eq!(shown.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(shown.text.contains(parameter) && !shown.text.contains(NUMBER), "{query}: {}", shown.text);
    }
    assert_eq!(Browser::default().get(&gateway, "/console/money?day=2026-11-22").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn answers_of_a_provider_that_is_gone_are_counted_without_an_amount() {
    let folder = Folder::new();
    let path = folder.path().join("idgate.toml");
    let gateway = folder.gateway().chain(&["aliyun"]).over(ON).over(operator("vera", "viewer"));
    let gateway = gateway.over(operator("otto", "operator")).in_file(&path).start().await;
    for _ in 0..2 {
        gateway.ask(&person(1)).await;
    }
    gateway.rewrite(|toml| {
        let mut toml: toml::Table = toml.parse().unwrap();
        toml["providers"].as_table_mut().unwrap().remove("aliyun");
        toml["chain"]["order"] = vec!["yunyi"].into();
        toml.to_string()
    });
    let url = format!("http://{}/v1/reload", gateway.admin);
    let reload = client().post(url).header("authorization", format!("Bearer {}", key("otto")));
    assert_eq!(reload.send().await.unwrap().status(), StatusCode::OK);
    let mut vera = Browser::signed_in(&gateway, &key("vera")).await;
    let money = vera.get(&gateway, "/console/money").await.text;
    let link = money.split_once("/console/money?day=").unwrap().1.split('"').next().unwrap();
    let shown = vera.get(&gateway, &format!("/console/money?day={link}")).await;
    assert!(shown.text.contains("Of 1 answer the provider is no longer configured"), "{}", shown.text);
}
