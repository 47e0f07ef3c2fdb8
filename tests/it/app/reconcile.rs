//! `idgate reconcile` on calls that the sandbox really received: agreement, differences, unreadable inputs.

use idgate::storage::ledger::{Call, Entry};
use jiff::Timestamp;
use serde_json::Value;

use super::{Ran, TempFile, idgate, run};
use crate::ledger::Folder;
use crate::support::{TestGateway, anybody};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// The line of the provider's export for a call: its id, the midpoint of its time span, its price.
fn line(call: &Call) -> String {
    let at = at(call.at_ms - i64::try_from(call.end.duration_ms).unwrap() / 2);
    let (id, yuan) = (call.end.provider_request_id.as_deref().unwrap(), call.end.price_micro_yuan as f64 / 1e6);
    format!("{id},{at},{yuan:.6}\n")
}

const HEADER: &str = "RequestId,调用时间,金额\n";

async fn calls(folder: &Folder) -> Vec<Call> {
    let entries = folder.entries().await.into_iter();
    entries.filter_map(|entry| if let Entry::Call(call) = entry { Some(call) } else { None }).collect()
}

/// A gateway that has asked about `times` different people.
async fn asked(folder: &Folder, times: usize) -> TestGateway {
    let limits = "[providers.aliyun]\nconnect_timeout = \"1s\"\nattempt_timeout = \"1s\"\ncall_limit = \"1500ms\"";
    let gateway = folder.gateway().chain(&["aliyun"]).over(limits).start().await;
    for _ in 0..times {
        assert_eq!(gateway.ask(&anybody()).await.source(), "provider");
    }
    gateway
}

fn reconcile(folder: &Folder, name: &str, csv: impl AsRef<[u8]>, more: &[&str]) -> Ran {
    let file = TempFile::new(&format!("usage-{name}.csv"), "");
    std::fs::write(file.path(), csv).unwrap();
    let ledger = folder.file();
    let arguments = ["reconcile", "--provider", "aliyun", file.path(), "--file", &ledger];
    run(&mut idgate(&[&arguments[..], more].concat()), "")
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_export_of_what_was_asked_balances_and_each_thing_that_is_otherwise_is_told() {
    let folder = Folder::new();
    let gateway = asked(&folder, 5).await;
    let calls = calls(&folder).await;
    let lines: Vec<_> = calls.iter().map(line).collect();
    // While the gateway is running.
    let good = reconcile(&folder, "good", HEADER.to_owned() + &lines.concat(), &[]);
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.out.contains("billed there and here") && good.out.ends_with("It balances.\n"), "{}", good.out);
    let told = json(&reconcile(&folder, "json", HEADER.to_owned() + &lines.concat(), &["--json"]));
    let paid: u64 = calls.iter().map(|call| call.end.price_micro_yuan).sum();
    assert_eq!((&told["balances"], &told["agree"]["count"]), (&true.into(), &5.into()));
    assert!(
        paid > 0 && told["total_there"]["micro_yuan"] == paid && told["total_there"] == told["total_here"],
        "{told:#}"
    );
    let differs = |name: &str, csv: String| {
        let ran = reconcile(&folder, name, HEADER.to_owned() + &csv, &["--json"]);
        let told = json(&ran);
        assert_eq!((ran.code, &told["balances"]), (Some(1), &false.into()), "{told:#}");
        let all = told["differences"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["class"].as_str().unwrap(), one["reason"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(differs("twice", lines.concat() + &lines[2]), ["billed_there repeated"]);
    let stranger = lines[2].replace(calls[2].end.provider_request_id.as_deref().unwrap(), "SOMEBODY-ELSE");
    assert_eq!(differs("stranger", lines.concat() + &stranger), ["billed_there no_call"]);
    let without = [&lines[..2], &lines[3..]].concat().concat();
    assert_eq!(differs("without", without.clone()), ["billed_here no_row"]);
    let free = lines[2].rsplit_once(',').unwrap().0.to_owned() + ",0\n";
    assert_eq!(differs("free", without.clone() + &free), ["billed_here not_billed"]);
    let dearer = lines[2].rsplit_once(',').unwrap().0.to_owned() + ",99.5\n";
    assert_eq!(differs("dearer", without + &dearer), ["price_differs price"]);
    let shown = reconcile(&folder, "shown", HEADER.to_owned() + &lines.concat() + &stranger, &[]);
    assert!(shown.code == Some(1) && shown.out.contains("BILLED THERE, no such call here"), "{}", shown.out);
    assert!(shown.out.contains("line 7") && !shown.out.contains("SOMEBODY-ELSE"), "{}", shown.out);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_call_at_the_edge_of_the_export_is_told_and_unbalances_only_a_period_that_is_named() {
    let folder = Folder::new();
    let gateway = asked(&folder, 4).await;
    assert!(gateway.stop().await);
    let calls = calls(&folder).await;
    let inner = HEADER.to_owned() + &calls[1..3].iter().map(line).collect::<String>();
    let ran = reconcile(&folder, "edge", &inner, &["--json"]);
    let told = json(&ran);
    assert_eq!((ran.code, &told["at_the_edge"]["count"]), (Some(0), &2.into()), "{told:#}");
    assert_eq!((&told["total_here"], &told["billed_here"]), (&told["total_there"], &serde_json::json!({})), "{told:#}");
    let listed: Vec<_> =
        told["differences"].as_array().unwrap().iter().map(|one| (&one["class"], &one["call"])).collect();
    let (class, ids) = ("at_the_edge".into(), [&calls[0], &calls[3]].map(|call| call.id.to_string().into()));
    assert_eq!(listed, [(&class, &ids[0]), (&class, &ids[1])]);
    let shown = reconcile(&folder, "edge-shown", &inner, &[]).out;
    let call = format!("at_the_edge: no_row, {:.3}, call {}", at(calls[3].at_ms), calls[3].id);
    assert!(shown.contains("billed here, at the edge") && shown.contains(&call), "{shown}");
    assert!(shown.ends_with("It balances.\n"), "{shown}");
    let ran = reconcile(&folder, "edge-to", &inner, &["--json", "--to", "2100-01-01T00:00:00Z"]);
    let told = json(&ran);
    assert_eq!((ran.code, &told["at_the_edge"]["count"]), (Some(1), &1.into()), "{told:#}");
    assert_eq!(told["billed_here"]["no_row"]["count"], 1, "{told:#}");
    // Calls outside an explicit period belong to another export.
    let from = at(calls[0].at_ms + 1).to_string();
    let told = json(&reconcile(&folder, "edge-from", &inner, &["--json", "--from", &from]));
    assert_eq!((&told["at_the_edge"]["count"], &told["differences"][0]["call"]), (&1.into(), &ids[1]), "{told:#}");
}

#[tokio::test]
async fn a_prepaid_export_whose_amounts_are_all_zero_is_billed_and_the_report_says_so() {
    let folder = Folder::new();
    let gateway = asked(&folder, 2).await;
    assert!(gateway.stop().await);
    let free = |call: &Call| line(call).rsplit_once(',').unwrap().0.to_owned() + ",0.00\n";
    let csv = HEADER.to_owned() + &calls(&folder).await.iter().map(free).collect::<String>();
    let ran = reconcile(&folder, "prepaid", &csv, &["--json"]);
    let told = json(&ran);
    assert_eq!((ran.code, &told["agree"]["count"]), (Some(0), &2.into()), "{told:#}");
    assert_eq!(told["has_no_prices"], true, "{told:#}");
    let shown = reconcile(&folder, "prepaid-shown", &csv, &[]).out;
    assert!(shown.contains("All amounts in the export are zero"), "{shown}");
}

#[tokio::test]
async fn a_timeout_that_was_billed_is_found_by_its_time() {
    let folder = Folder::new();
    let gateway = asked(&folder, 2).await;
    gateway.fault("aliyun", r#"{"kind": "hang", "times": 1}"#);
    gateway.ask(&anybody()).await;
    assert!(gateway.stop().await);
    let calls = calls(&folder).await;
    let (known, timeout) = (calls[..2].iter().map(line).collect::<String>(), &calls[2]);
    assert_eq!((&*timeout.end.outcome, &*timeout.end.billed), ("timeout", "unknown"));
    let at = Timestamp::from_millisecond(timeout.at_ms - 100).unwrap();
    let unbilled = reconcile(&folder, "unbilled", HEADER.to_owned() + &known, &["--to", "2100-01-01T00:00:00Z"]);
    assert_eq!(unbilled.code, Some(0), "{}{}", unbilled.out, unbilled.err);
    let billed = HEADER.to_owned() + &known + &format!("THEIRS,{at},0.3\n");
    let ran = reconcile(&folder, "billed", &billed, &["--json"]);
    let told = json(&ran);
    assert_eq!((ran.code, &told["billed_there"]["timeout"]["count"]), (Some(1), &1.into()), "{told:#}");
    assert_eq!(
        (&told["differences"][0]["call"], &told["differences"][0]["line"]),
        (&timeout.id.to_string().into(), &4.into())
    );
    // The row is outside the smaller tolerance.
    let later = Timestamp::from_millisecond(timeout.at_ms + 3_000).unwrap();
    let later = HEADER.to_owned() + &known + &format!("THEIRS,{later},0.3\n");
    for (tolerance, reason) in [("5s", "timeout"), ("1s", "no_call")] {
        let told = json(&reconcile(&folder, "later", &later, &["--json", "--tolerance", tolerance]));
        assert_eq!(told["differences"][0]["reason"], reason, "{told:#}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_exit_code_2_and_says_what_to_do() {
    let folder = Folder::new();
    let gateway = asked(&folder, 3).await;
    assert!(gateway.stop().await);
    let calls = calls(&folder).await;
    let lines: String = calls.iter().map(line).collect();
    let person = "11010519491231002X";
    for (name, csv, part) in [
        ("empty", String::new(), "is empty"),
        ("header", HEADER.to_owned(), "add --from and --to"),
        ("no-id", format!("{person},time\n"), "--id-column"),
        ("no-time", format!("request_id,{person}\n"), "--time-column"),
        ("cell", format!("{HEADER}a,{person},1\n"), "line 2, column number 2"),
        ("short", format!("{HEADER}{person}\n"), "line 2 has more or fewer columns"),
    ] {
        let ran = reconcile(&folder, name, csv, &[]);
        assert!(ran.code == Some(2) && ran.err.contains(part), "{name}: {:?} {}", ran.code, ran.err);
        assert!(ran.out.is_empty() && !ran.err.contains(person), "{name}: {}{}", ran.out, ran.err);
    }
    let gbk = reconcile(&folder, "gbk", b"\xc7\xeb\xc7\xf3ID,\xca\xb1\xbc\xe4\n", &[]);
    assert!(gbk.code == Some(2) && gbk.err.contains("iconv"), "{}", gbk.err);
    // A period without rows: every call in it is missing from the export.
    let span = ["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--json"];
    let none = reconcile(&folder, "none", HEADER, &span);
    assert_eq!((none.code, &json(&none)["billed_here"]["no_row"]["count"]), (Some(1), &3.into()));
    // Times read in the wrong time zone.
    let local: String = lines.replace('T', " ").replace('Z', "");
    let wrong = reconcile(&folder, "zone", HEADER.to_owned() + &local, &[]);
    assert!(wrong.code == Some(2) && wrong.err.contains("differ by -08:00"), "{}{}", wrong.out, wrong.err);
    let right = reconcile(&folder, "zone-right", HEADER.to_owned() + &local, &["--zone", "+00:00"]);
    assert_eq!(right.code, Some(0), "{}{}", right.out, right.err);
    let named = lines.clone();
    let named = reconcile(&folder, "named", format!("A,B,金额\n{named}"), &["--id-column", "a", "--time-column", "B"]);
    assert_eq!(named.code, Some(0), "{}{}", named.out, named.err);
    let file = TempFile::new("usage-other.csv", &(HEADER.to_owned() + &lines));
    let (ledger, missing) = (folder.file(), "/nonexistent/ledger.db");
    for (arguments, code, part) in [
        (["--provider", "yunyi", file.path(), "--file", &ledger], 2, "use one of: aliyun"),
        (["--provider", "aliyun", "/nonexistent/usage.csv", "--file", &ledger], 2, "cannot be read"),
        (["--provider", "aliyun", file.path(), "--file", missing], 2, "it cannot be opened"),
        (["--provider", "aliyun", file.path(), "--zone", "CST"], 64, "--help"),
        (["--provider", "aliyun", file.path(), "--config", "/nonexistent/idgate.toml"], 78, "cannot be read"),
    ] {
        let ran = run(&mut idgate(&[&["reconcile"][..], &arguments].concat()), "");
        assert!(ran.code == Some(code) && ran.err.contains(part), "{arguments:?}: {:?} {}", ran.code, ran.err);
    }
}
