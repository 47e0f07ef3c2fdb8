//! Searches all output for the names, numbers and secrets that these callers send in URLs and headers.

use idgate::providers::DRIVERS;
use idgate::server::http::access_log::AccessLog;

use super::{APP_CODE, SECRET, Speaker, section, send, speakers};
use crate::ledger::Folder;
use crate::support::{Pair, TestGateway};

const NAME: &str = "金丝雀";
const NUMBER: &str = "110101199003079972";

#[tokio::test]
async fn neither_people_nor_secrets_are_in_logs_metrics_or_the_ledger() {
    let folder = Folder::new();
    let log = folder.path().join("requests.log");
    let gateway = folder
        .gateway()
        .over(section(""))
        .over("[compat]\nappcode_in_query = true")
        .access_log(AccessLog::file(&log).unwrap());
    let gateway = gateway.start().await;
    let pair = Pair::new(NAME, NUMBER);
    everything(&gateway, &pair).await;
    for driver in DRIVERS {
        gateway.fault(driver.name, r#"{"kind": "status", "status": 500}"#);
    }
    everything(&gateway, &Pair::new(NAME, "310104198512019988")).await;
    let (_, metrics) = gateway.admin_get("/metrics").await;
    let (_, status) = gateway.admin_get("/v1/status").await;
    assert!(gateway.stop().await);
    let mut kept = vec![("metrics".to_owned(), metrics.into_bytes()), ("status".to_owned(), status.into_bytes())];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        kept.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    let lines = String::from_utf8(std::fs::read(&log).unwrap()).unwrap();
    assert!(lines.lines().count() > 80, "{lines}");
    assert!(lines.contains("\"route\":\"/idcard\",\"protocol\":\"muzhiyun\""), "{lines}");
    let encoded = idgate::providers::codec::form::encode_pairs([("", NAME)]);
    let canaries = [NAME, &encoded[1..], NUMBER, "310104198512019988", SECRET, APP_CODE, "idg_"];
    for (place, bytes) in kept {
        for canary in canaries {
            assert!(memchr::memmem::find(&bytes, canary.as_bytes()).is_none(), "{canary} is in {place}");
        }
    }
}

/// Valid and invalid requests, with a canary wherever one fits.
async fn everything(gateway: &TestGateway, pair: &Pair) {
    for speaker in speakers() {
        let good = speaker.request(gateway, pair);
        send(gateway, good.clone()).await;
        send(gateway, good).await;
        let stranger = Speaker { secret: format!("{}x", speaker.secret), ..speaker.clone() };
        stranger.ask(gateway, pair).await;
        speaker.of(NUMBER).ask(gateway, pair).await;
        for (name, number) in [(NAME, "110101199003079973"), (NUMBER, NAME), (NAME, NAME), (NUMBER, NUMBER)] {
            speaker.ask(gateway, &Pair::new(name, number)).await;
        }
        let mut elsewhere = speaker.request(gateway, pair);
        let query = format!("xm={NAME}&sfz={NUMBER}&AppCode={SECRET}&Action={NUMBER}&UserName={NAME}");
        let query = query.replace(NAME, "%E9%87%91%E4%B8%9D%E9%9B%80");
        *elsewhere.uri_mut() = format!("http://{}/idcard/{NUMBER}?{query}", gateway.public).parse().unwrap();
        elsewhere.headers_mut().insert("x-request-id", NUMBER.parse().unwrap());
        elsewhere.headers_mut().insert("x-acs-action", NUMBER.parse().unwrap());
        send(gateway, elsewhere).await;
        let mut header = speaker.request(gateway, pair);
        header.headers_mut().insert("x-request-id", APP_CODE.parse().unwrap());
        send(gateway, header).await;
    }
}
