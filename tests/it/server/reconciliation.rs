//! The console compares a provider's usage export with the ledger.

use http::StatusCode;

use super::console::{Browser, ON, Shown, key, operator};
use crate::ledger::Folder;
use crate::support::{TestGateway, person};

const PATH: &str = "/console/money/reconcile";
const PERSON: &str = "11010519491231002X";

/// A form with these fields in this order, as a browser sends it; one of them is a file.
fn form(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        let file = if *name == "export" { "; filename=\"usage.csv\"\r\nContent-Type: text/csv" } else { "" };
        format!("--idgate\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    fields.iter().map(part).collect::<String>() + "--idgate--\r\n"
}

async fn send(browser: &mut Browser, gateway: &TestGateway, fields: &[(&str, &str)]) -> Shown {
    let more = [("content-type", "multipart/form-data; boundary=idgate")];
    browser.send(gateway, "POST", PATH, Some(form(fields)), &more).await
}

/// Uploads an export with the token of the session.
async fn upload(browser: &mut Browser, gateway: &TestGateway, export: &str, output: &str) -> Shown {
    let token = browser.token.clone();
    let fields = [("token", &*token), ("provider", "aliyun"), ("export", export), ("as", output)];
    send(browser, gateway, &fields).await
}

/// A gateway with a ledger that has one billed call, and a time before it and one after it.
async fn gateway(folder: &Folder) -> (TestGateway, [String; 2]) {
    let gateway =
        folder.gateway().over(ON).over(operator("olga", "auditor")).over(operator("vera", "viewer")).start().await;
    let before = jiff::Timestamp::now();
    gateway.ask(&person(1)).await;
    (gateway, [before, jiff::Timestamp::now()].map(|at| format!("{at}")))
}

#[tokio::test]
async fn an_export_is_compared_and_what_differs_is_shown_and_downloaded() {
    let folder = Folder::new();
    let (gateway, [before, after]) = gateway(&folder).await;
    let mut olga = Browser::signed_in(&gateway, &key("olga")).await;
    let money = olga.get(&gateway, "/console/money").await.text;
    assert!(money.contains("multipart/form-data"));
    for title in ["Day by day", "Month by month"] {
        let history = money.split_once(title).unwrap().1.split_once("</table>").unwrap().0;
        assert!(history.contains("aliyun") && history.contains("<td class=\"number\">1</td>"), "{title}: {history}");
    }
    let export = format!("request_id,time,amount\nunknown-1,{before},0.30\n=unknown-2,{after},0.30\n");
    let shown = upload(&mut olga, &gateway, &export, "page").await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    for part in ["does not balance", "BILLED THERE, no such call here", "BILLED HERE, no row there", "¥0.600"] {
        assert!(shown.text.contains(part), "{part}: {}", shown.text);
    }
    assert!(shown.text.len() < 100_000);
    let file = upload(&mut olga, &gateway, &export, "csv").await;
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    let rows: Vec<_> = file.text.lines().collect();
    assert!(rows[0].starts_with("class,reason,line,at,call") && rows.len() == 4, "{rows:?}");
    let changes = olga.get(&gateway, "/console/changes").await.text;
    assert!(changes.contains("reconcile") && changes.contains("compared"), "{changes}");
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_by_place_and_never_by_value() {
    let folder = Folder::new();
    let (gateway, [now, _]) = gateway(&folder).await;
    let mut olga = Browser::signed_in(&gateway, &key("olga")).await;
    olga.get(&gateway, "/console/money").await;
    for (export, part) in [
        (format!("request_id,time\na,{PERSON}\n"), "line 2, column number 2: is not a time"),
        (format!("request_id,time,amount\na,{now},{PERSON}\n"), "line 2, column number 3: is not an amount"),
        (format!("{PERSON},b\n1,2\n"), "has no column with a known header"),
        ("request_id,time\n".to_owned(), "has no rows"),
    ] {
        let shown = upload(&mut olga, &gateway, &export, "page").await;
        assert_eq!(shown.status, StatusCode::UNPROCESSABLE_ENTITY, "{part}: {}", shown.text);
        assert!(shown.text.contains(part) && !shown.text.contains(PERSON), "{part}: {}", shown.text);
    }
    let none = upload(&mut olga, &gateway, "", "page").await;
    assert!(none.status == StatusCode::BAD_REQUEST && none.text.contains("Choose a provider and a file"));
    let token = olga.token.clone();
    let typed = [("token", &*token), ("provider", PERSON), ("export", "request_id,time\n"), ("as", "page")];
    let typed = send(&mut olga, &gateway, &typed).await;
    assert!(typed.status == StatusCode::BAD_REQUEST && !typed.text.contains(PERSON), "{}", typed.text);
    assert!(!olga.get(&gateway, "/console/changes").await.text.contains(PERSON), "it is not written down");
    let long = upload(&mut olga, &gateway, &"a".repeat(17 * 1024 * 1024), "page").await;
    assert!(long.status.is_client_error() && long.text.contains("16 MiB"), "{} {}", long.status, long.text);
}

#[tokio::test]
async fn a_forged_upload_is_not_read() {
    let folder = Folder::new();
    let (gateway, _) = gateway(&folder).await;
    let mut olga = Browser::signed_in(&gateway, &key("olga")).await;
    olga.get(&gateway, "/console/money").await;
    let token = olga.token.clone();
    let export = ("export", "request_id,time\n");
    for fields in [
        vec![("provider", "aliyun"), export],
        vec![("token", "wrong"), ("provider", "aliyun"), export],
        vec![export, ("token", &*token), ("provider", "aliyun")],
        vec![("token", "")],
    ] {
        let shown = send(&mut olga, &gateway, &fields).await;
        assert_eq!(shown.status, StatusCode::FORBIDDEN, "{fields:?}: {}", shown.text);
    }
    let as_text = olga.post(&gateway, PATH, &[("provider", "aliyun")]).await;
    assert_eq!(as_text.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut vera = Browser::signed_in(&gateway, &key("vera")).await;
    assert!(!vera.get(&gateway, "/console/money").await.text.contains("multipart/form-data"));
    assert_eq!(upload(&mut vera, &gateway, "request_id,time\n", "page").await.status, StatusCode::FORBIDDEN);
}
