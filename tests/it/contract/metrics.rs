//! `/metrics` matches the contract, the dashboards and the alerts in series and labels, and callers cannot add series.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use idgate::server::http::access_log::AccessLog;
use idgate::server::sandbox::SandboxHandle;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::read;
use crate::ledger::Folder;
use crate::shell::{FILES, series_named_in_shell_files};
use crate::support::{Pair, TestGateway, anybody, person, pki};

/// The series of the contract: name and labels.
pub const SERIES: &[(&str, &[&str])] = &[
    ("idgate_requests_total", &["client", "purpose", "status", "source"]),
    ("idgate_request_duration_seconds", &["source"]),
    ("idgate_overhead_seconds", &["source"]),
    ("idgate_verdicts_total", &["provider", "verdict"]),
    ("idgate_attempts_total", &["provider", "endpoint", "outcome"]),
    ("idgate_attempt_duration_seconds", &["provider", "endpoint"]),
    ("idgate_breaker_state", &["provider", "endpoint"]),
    ("idgate_breaker_transitions_total", &["provider", "endpoint", "to", "reason"]),
    ("idgate_provider_available", &["provider"]),
    ("idgate_account_fault", &["provider", "reason"]),
    ("idgate_fallbacks_total", &["from", "to", "reason"]),
    ("idgate_calls_avoided_total", &["reason"]),
    ("idgate_billed_calls_total", &["provider", "billed"]),
    ("idgate_duplicate_bills_total", &["provider"]),
    ("idgate_cost_yuan_total", &["provider", "client", "purpose"]),
    ("idgate_possible_cost_yuan_total", &["provider", "client", "purpose"]),
    ("idgate_saved_yuan_total", &["reason"]),
    ("idgate_budget_refused_calls_total", &["owner", "name"]),
    ("idgate_budget_used_ratio", &["owner", "name", "period", "unit"]),
    ("idgate_package_remaining_calls", &["provider", "package"]),
    ("idgate_package_days_left", &["provider", "package"]),
    ("idgate_package_remaining_ratio", &["provider", "package"]),
    ("idgate_package_end_timestamp_seconds", &["provider", "package"]),
    ("idgate_cache_entries", &[]),
    ("idgate_credential_generation", &["provider"]),
    ("idgate_in_flight", &["provider"]),
    ("idgate_subject_holds", &["provider"]),
    ("idgate_dns_lookups_total", &["result"]),
    ("idgate_enumeration_suspected_total", &["client", "kind"]),
    ("idgate_capacity_refusals_total", &["client", "capacity", "share"]),
    ("idgate_client_key_expiry_timestamp_seconds", &["client", "key_id"]),
    ("idgate_compat_nonces_refused_total", &[]),
    ("idgate_credential_refreshes_total", &["provider", "result"]),
    ("idgate_credential_expiry_timestamp_seconds", &["provider"]),
    ("idgate_clock_steps_total", &["direction"]),
    ("idgate_clock_offset_seconds", &[]),
    ("idgate_config_reloads_total", &["result"]),
    ("idgate_config_checked_timestamp_seconds", &[]),
    ("idgate_spans_exported_total", &[]),
    ("idgate_spans_dropped_total", &["reason"]),
    ("idgate_log_lines_lost_total", &["sink"]),
    ("idgate_log_lines_left_out_total", &["sink"]),
    ("idgate_ledger_entries_total", &["kind"]),
    ("idgate_ledger_commit_seconds", &[]),
    ("idgate_ledger_spooled_total", &[]),
    ("idgate_ledger_behind_entries", &[]),
    ("idgate_ledger_lost_total", &[]),
    ("idgate_ledger_available", &[]),
    ("idgate_ledger_removal_held", &[]),
    ("idgate_ledger_spool_bytes", &[]),
    ("idgate_ledger_spool_most_bytes", &[]),
    ("idgate_ledger_oldest_unmoved_seconds", &[]),
    ("idgate_ledger_postgres_up", &[]),
    ("idgate_ledger_sent_again_total", &[]),
    ("idgate_postgres_connections", &["pool", "state"]),
    ("idgate_ledger_partition_missing", &[]),
    ("idgate_build_info", &["version", "target"]),
    ("idgate_tls_certificate_expiry_timestamp_seconds", &["listener"]),
    ("idgate_tls_handshake_failures_total", &["listener", "reason"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_open_fds", &[]),
    ("process_start_time_seconds", &[]),
];

/// The series that exist with `[shared]` only, and whether they do from the start.
pub const SHARED: &[(&str, &[&str], bool)] = &[
    ("idgate_shared_up", &[], true),
    ("idgate_shared_commands_total", &["command", "result"], true),
    ("idgate_shared_command_seconds", &["command"], true),
    ("idgate_shared_questions_total", &["role"], true),
    ("idgate_shared_forged_total", &[], true),
    ("idgate_shared_forgotten_late_total", &[], true),
    ("idgate_replicas", &["state"], true),
    ("idgate_replicas_most", &[], true),
    ("idgate_replicas_differ", &["section"], false),
    ("idgate_budget_slice", &["owner", "name"], false),
];

/// Labels that Prometheus itself adds.
const OF_THE_SCRAPE: [&str; 3] = ["instance", "job", "le"];

/// Labels of the series that the rules record.
const OF_THE_RULES: [&str; 3] = ["cause", "provider", "verdict"];

/// A page of metrics: for each family, the label sets of its series and their values.
#[derive(Debug, Default)]
struct Page(BTreeMap<String, BTreeMap<Labels, f64>>);

type Labels = BTreeMap<String, String>;

impl Page {
    async fn of(gateway: &TestGateway) -> Self {
        let (status, text) = gateway.admin_get("/metrics").await;
        assert_eq!(status, 200);
        let mut page = Self::default();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                page.0.entry(declared.split(' ').next().unwrap().to_owned()).or_default();
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
                let family = family.filter(|family| page.0.contains_key(*family)).unwrap_or(name);
                let mut labels = labels_of(labels.trim_end_matches('}'));
                labels.remove("le");
                page.0.entry(family.to_owned()).or_default().insert(labels, value.parse().unwrap());
            }
        }
        page
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    fn series(&self) -> BTreeSet<(String, Labels)> {
        let of = |(name, series): (&String, &BTreeMap<Labels, f64>)| -> Vec<_> {
            series.keys().map(|labels| (name.clone(), labels.clone())).collect()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The labels of a family.
    fn labels(&self, name: &str) -> BTreeSet<String> {
        self.0.get(name).into_iter().flat_map(BTreeMap::keys).flat_map(|labels| labels.keys().cloned()).collect()
    }

    /// The values of `label` among the series of a family that are zero and have the labels `others`.
    fn zeroes(&self, name: &str, label: &str, others: &[(&str, &str)]) -> BTreeSet<String> {
        let family = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        let matching = family.iter().filter(|(labels, value)| {
            **value == 0.0 && others.iter().all(|(other, value)| labels.get(*other).is_some_and(|is| is == value))
        });
        matching.filter_map(|(labels, _)| labels.get(label).cloned()).collect()
    }
}

/// Parses `a="b",c="d"` of a page or a selector; the values contain neither commas nor quotes.
fn labels_of(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(label, value)| (label.trim().to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// A provider whose credential is fetched.
fn fetched(sandbox: &SandboxHandle) -> String {
    let uri = sandbox.issuer().address("uri").unwrap();
    format!(
        "[providers.fetched]\ndriver = \"aliyun\"\nendpoints = [\"http://{}\"]\n\
         credentials = {{ kind = \"uri\", uri = \"http://{uri}/\" }}",
        sandbox.addresses("aliyun")[0]
    )
}

/// A budget and a package; their series exist only if they are configured.
const MONEY: &str = "[clients.c.budget]\nyuan_per_day = \"10\"\n[ledger]\nkeep = \"40000 days\"\n\
                     [[providers.aliyun.packages]]\nid = \"p1\"\ncalls = 100\nbought = \"2020-01-01\"\nends = \"2099-01-01\"";

/// A TLS gateway after a provider answer, a cached answer, a fallback and a refusal, with a client key that expires.
async fn after_some_questions() -> (TestGateway, Folder) {
    let hash: String = hex::encode(Sha256::digest("idg_synthetic"));
    let key = format!("{{ id = \"c1\", sha256 = \"{hash}\", expires = \"2100-01-01T00:00:00Z\" }}");
    let (authority, server) = pki::shared();
    let gateway = TestGateway::new().over(server.section("tls", "")).over(format!("[clients.c]\nkeys = [{key}]"));
    let folder = Folder::new();
    let log = AccessLog::file(&folder.path().join("access.log")).unwrap();
    let gateway = gateway.over(folder.toml()).over(MONEY).access_log(log);
    let gateway = gateway.http(authority.http(None)).over_sandbox(fetched).start().await;
    let ask = async |pair: &Pair| gateway.ask_with(pair, &[("authorization", "Bearer idg_synthetic")]).await;
    let known = Pair::new("张三", "11010519491231002X");
    ask(&known).await;
    ask(&known).await;
    ask(&Pair::new("李四", &known.id_number)).await;
    ask(&Pair::new("张三", "110105194912310021")).await;
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "account_fault", "reason": "arrears"}"#);
    assert_eq!(ask(&anybody()).await.verdict(), "match");
    (gateway, folder)
}

/// The page of a gateway whose Redis is away.
async fn with_shared() -> Page {
    const SHARED: &str = "[cache]\ndigest_key = { value = \"a key that is the same for all of the replicas\" }\n\
                          [replica]\nname = \"one\"\nmost = 3\n[shared]\nredis = [\"unix:/nowhere/redis\"]\n";
    Page::of(&TestGateway::new().over(SHARED).start().await).await
}

#[tokio::test]
async fn every_series_of_the_contract_exists_with_its_labels() {
    let (gateway, _folder) = after_some_questions().await;
    let page = Page::of(&gateway).await;
    for (name, labels) in SERIES {
        assert!(page.0.contains_key(*name), "no {name} in {:?}", page.names());
        let expected: BTreeSet<_> = labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(page.labels(name), expected, "{name}");
    }
    let shared = with_shared().await;
    for (name, labels, is_there) in SHARED {
        let expected: BTreeSet<_> = labels.iter().map(|&label| label.to_owned()).collect();
        assert!(!is_there || shared.labels(name) == expected, "{name} in {:?}", shared.names());
    }
    let mut promised: BTreeSet<_> = SERIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    promised.extend(SHARED.iter().map(|(name, ..)| (*name).to_owned()));
    let mut exported: BTreeSet<_> = page.names().union(&shared.names()).cloned().collect();
    exported.extend(SHARED.iter().filter(|(.., is_there)| !is_there).map(|(name, ..)| (*name).to_owned()));
    let named = series_named_in_shell_files();
    assert!(named.is_subset(&exported), "not exported: {:?}", named.difference(&exported));
    assert!(named.is_subset(&promised), "not in the contract: {:?}", named.difference(&promised));
}

#[tokio::test]
async fn what_can_fail_is_counted_at_zero_before_it_does() {
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over_sandbox(fetched).start().await;
    let page = Page::of(&gateway).await;
    let refreshes = page.zeroes("idgate_credential_refreshes_total", "result", &[("provider", "fetched")]);
    assert!(refreshes.contains("failure"), "{refreshes:?}");
    let words = |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
    let outcomes = "verdict input_refused subject_throttled rate_limited account_fault source_down provider_error \
                    unreachable timeout interrupted unreadable skipped_open skipped_full skipped_rate skipped_hold \
                    skipped_unsupported skipped_deadline skipped_budget skipped_exhausted";
    let accounts = "arrears quota_used_up subscription_expired not_activated no_permission key_refused \
                    signature_refused no_credential clock misconfigured";
    for provider in ["aliyun", "yunyi"] {
        let of = [("provider", provider)];
        assert_eq!(page.zeroes("idgate_attempts_total", "outcome", &of), words(outcomes));
        assert_eq!(page.zeroes("idgate_verdicts_total", "verdict", &of), words("match mismatch no_record"));
        assert_eq!(page.zeroes("idgate_billed_calls_total", "billed", &of), words("yes no unknown"));
        assert_eq!(page.zeroes("idgate_account_fault", "reason", &of), words(accounts));
        assert_eq!(page.zeroes("idgate_duplicate_bills_total", "provider", &of), words(provider));
        assert_eq!(page.zeroes("idgate_breaker_state", "provider", &of), words(provider));
        let opened = [("provider", provider), ("to", "open")];
        let reasons = "consecutive_failures failure_ratio slow_ratio probe_failed forced";
        assert_eq!(page.zeroes("idgate_breaker_transitions_total", "reason", &opened), words(reasons));
        // For the provider as a whole: outcomes that the chain skips before it selects an endpoint.
        let whole = [("provider", provider), ("endpoint", "")];
        let skipped = "skipped_unsupported skipped_open skipped_deadline";
        assert!(page.zeroes("idgate_attempts_total", "outcome", &whole).is_superset(&words(skipped)), "{provider}");
    }
    assert_eq!(page.zeroes("idgate_dns_lookups_total", "result", &[]), words("fresh cached stale failed"));
    assert_eq!(page.zeroes("idgate_requests_total", "status", &[]), words("500 502 503 504"));
    assert_eq!(page.zeroes("idgate_config_reloads_total", "result", &[]), words("failure success"));
    let avoided = "cache shared invalid_input hold idempotent";
    assert_eq!(page.zeroes("idgate_calls_avoided_total", "reason", &[]), words(avoided));
    assert_eq!(page.zeroes("idgate_saved_yuan_total", "reason", &[]), words("cache shared idempotent"));
    let kinds = page.zeroes("idgate_enumeration_suspected_total", "kind", &[("client", "anonymous")]);
    assert_eq!(kinds, words("names_per_number numbers_per_client"));
    for (label, values) in [("capacity", "reading calls waiting slots rate"), ("share", "within above")] {
        let zeroes = page.zeroes("idgate_capacity_refusals_total", label, &[("client", "anonymous")]);
        assert_eq!(zeroes, words(values), "{label}");
    }
}

/// A counter that appears with its first increment hides that increment from `increase()`.
#[tokio::test]
async fn the_first_bill_and_the_first_fallback_are_an_increase_from_zero() {
    let words = |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
    let hash = hex::encode(Sha256::digest("idg_synthetic"));
    let client = |name: &str, purposes: &str| {
        format!("[clients.{name}]\nkeys = [{{ id = \"{name}\", sha256 = \"{hash}\" }}]\npurposes = {purposes}")
    };
    let two = || TestGateway::new().chain(&["aliyun", "yunyi"]);
    let with_client = two().over(client("c", r#"["payout", "signup"]"#)).start().await;
    for (gateway, name, purposes) in
        [(two().start().await, "anonymous", "default"), (with_client, "c", "payout signup")]
    {
        let page = Page::of(&gateway).await;
        for provider in ["aliyun", "yunyi"] {
            let of = [("provider", provider), ("client", name)];
            assert_eq!(page.zeroes("idgate_cost_yuan_total", "purpose", &of), words(purposes));
            assert_eq!(page.zeroes("idgate_possible_cost_yuan_total", "purpose", &of), words(purposes));
        }
        let reasons = "verdict input_refused subject_throttled rate_limited account_fault source_down provider_error \
                       unreachable timeout interrupted unreadable skipped_open skipped_full skipped_rate skipped_hold \
                       skipped_budget skipped_exhausted";
        let onwards = [("from", "aliyun"), ("to", "yunyi")];
        assert_eq!(page.zeroes("idgate_fallbacks_total", "reason", &onwards), words(reasons));
        assert!(page.zeroes("idgate_fallbacks_total", "reason", &[("from", "yunyi")]).is_empty(), "the last is last");
    }
}

#[tokio::test]
async fn duration_buckets_have_edges_where_decisions_are() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    gateway.ask(&anybody()).await;
    let (_, text) = gateway.admin_get("/metrics").await;
    for family in ["idgate_request_duration_seconds", "idgate_attempt_duration_seconds"] {
        for edge in ["2.5", "3", "5", "8", "10"] {
            let bucket =
                |line: &str| line.starts_with(&format!("{family}_bucket")) && line.contains(&format!("le=\"{edge}\""));
            assert!(text.lines().any(bucket), "{family} {edge}");
        }
    }
}

/// S-44: labels that a caller can choose would exhaust the heap.
#[tokio::test]
async fn a_thousand_strange_callers_add_no_series() {
    let wide = |provider: &str| format!("[providers.{provider}]\nrate_limit = 1000000\nmax_concurrency = 10000");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(wide("aliyun")).start().await;
    // One request of each kind first, so that the fixed label values are already there.
    let stranger = |n: u64| {
        let gateway = &gateway;
        async move {
            let mut body = person(n).body();
            body["reference"] = Value::from(format!("strange-{n}"));
            let id = format!("strange-{n}");
            let headers = [("x-request-id", &*id), ("authorization", &*id), ("idempotency-key", &*id)];
            assert_eq!(gateway.post(body.to_string(), &headers).await.status, 200);
            body["purpose"] = Value::from(format!("strange-{n}"));
            assert_eq!(gateway.post(body.to_string(), &headers).await.status, 403);
            body[format!("strange_{n}")] = Value::from(n);
            assert_eq!(gateway.post(body.to_string(), &headers).await.status, 400);
            let method = format!("STRANGE{n}").parse().unwrap();
            let url = format!("http://{}/v1/strange-{n}", gateway.public);
            assert_eq!(gateway.http.request(method, url).send().await.unwrap().status(), 404);
        }
    };
    stranger(0).await;
    let before = Page::of(&gateway).await;
    stream::iter(1..=1000).for_each_concurrent(20, stranger).await;
    let after = Page::of(&gateway).await;
    let new: Vec<_> = after.series().difference(&before.series()).cloned().collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(gateway.metric("idgate_requests_total", &[]).await >= 4000.0, "they were all counted");
}

#[tokio::test]
async fn every_label_that_a_query_names_is_one_of_its_series() {
    let (gateway, _folder) = after_some_questions().await;
    let mut page = with_shared().await;
    page.0.extend(Page::of(&gateway).await.0);
    for (name, labels, _) in SHARED {
        let family = page.0.entry((*name).to_owned()).or_default();
        if family.is_empty() {
            family.insert(labels.iter().map(|label| ((*label).to_owned(), String::new())).collect(), 0.0);
        }
    }
    let queries = queries();
    assert!(queries.len() >= 30, "the queries are not recognised: {queries:#?}");
    for query in queries {
        let mut of_the_query: BTreeSet<String> = OF_THE_SCRAPE.map(str::to_owned).into();
        if query.contains("idgate:") {
            of_the_query.extend(OF_THE_RULES.map(str::to_owned));
        }
        for (name, labels) in page.0.keys().map(|name| (name, page.labels(name))) {
            for (at, _) in query.match_indices(&**name) {
                let rest = &query[at + name.len()..];
                let rest =
                    ["_bucket", "_sum", "_count"].iter().find_map(|part| rest.strip_prefix(part)).unwrap_or(rest);
                if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                    continue;
                }
                of_the_query.extend(labels.clone());
                let selector =
                    rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
                for (label, value) in labels_of(selector) {
                    let label = label.trim_end_matches('!');
                    let known = labels.contains(label) || OF_THE_SCRAPE.contains(&label);
                    assert!(known, "{name} has no label {label}: {query}");
                    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    let exists = page.0[name].keys().any(|labels| labels.get(label) == Some(&value));
                    assert!(!plain || OF_THE_SCRAPE.contains(&label) || exists, "{label} is never {value}: {query}");
                }
            }
        }
        for clause in ["by (", "ignoring (", "on ("] {
            for inner in query.split(clause).skip(1).filter_map(|rest| rest.split(')').next()) {
                for label in inner.split(',').map(str::trim) {
                    assert!(of_the_query.contains(label), "no series of it has the label {label}: {query}");
                }
            }
        }
    }
}

#[test]
fn every_panel_of_a_dashboard_has_an_id_of_its_own_and_says_what_it_shows_in_which_unit() {
    for (file, dashboard) in dashboards() {
        let mut seen = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let what = format!("{file}: {}", panel["title"]);
            assert!(seen.insert(panel["id"].as_u64().unwrap()), "id {} twice: {what}", panel["id"]);
            if panel["type"] != "row" {
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "no unit: {what}");
                assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "no description: {what}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_panel_that_leads_to_its_runbook_and_the_dashboards_lead_to_each_other() {
    let alerts = ALERTS.map(read).concat();
    let runbooks = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: \"docs/"));
    let runbooks: BTreeSet<_> = runbooks.map(|rest| format!("${{docs}}/{}", rest.trim_end_matches('"'))).collect();
    assert!(runbooks.len() >= 30, "the alerts are not recognised: {runbooks:?}");
    let dashboards = dashboards();
    let mut linked = BTreeSet::new();
    for (file, dashboard) in &dashboards {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        for name in ["datasource", "instance", "provider", "docs"] {
            assert!(variables.iter().any(|variable| variable["name"] == name), "{file} has no variable {name}");
        }
        let others = dashboard["links"].as_array().unwrap().iter().map(|link| link["url"].as_str().unwrap());
        let mut reached: BTreeSet<String> = others.map(|url| url.trim_start_matches("/d/").to_owned()).collect();
        reached.insert(dashboard["uid"].as_str().unwrap().to_owned());
        assert_eq!(reached, dashboards.iter().map(|(file, _)| file.trim_end_matches(".json").to_owned()).collect());
        let panels = dashboard["panels"].as_array().unwrap().iter();
        let links = panels.filter_map(|panel| panel["links"].as_array()).flatten();
        linked.extend(links.map(|link| link["url"].as_str().unwrap().to_owned()));
    }
    assert_eq!(linked, runbooks);
}

/// Families with a series for each of many words or names, of which most stay zero.
#[test]
fn no_dashboard_draws_a_crowd_of_zero_lines() {
    let mut queries = Vec::new();
    dashboards().iter().for_each(|(_, dashboard)| expressions(dashboard, &mut queries));
    let crowds = ["(provider, endpoint, to, reason)", "(provider, outcome)", "(from, to, reason)", "client, purpose)"];
    for crowd in crowds {
        let of_it: Vec<_> =
            queries.iter().filter(|query| query.contains(crowd) && !query.contains("requests")).collect();
        assert!(!of_it.is_empty() && of_it.iter().all(|query| query.ends_with("> 0")), "{crowd}: {of_it:?}");
    }
}

/// The files of alerts.
pub const ALERTS: [&str; 2] = ["config/prometheus/alerts.yml", "config/prometheus/alerts-replicas.yml"];

/// The dashboards by the names of their files.
fn dashboards() -> Vec<(&'static str, Value)> {
    let of = |path: &&'static str| {
        let file = path.strip_prefix("config/grafana/dashboards/")?;
        Some((file, serde_json::from_str(&read(path)).unwrap()))
    };
    FILES.iter().filter_map(of).collect()
}

/// Every query of the dashboards, the alerts and the recorded series.
fn queries() -> Vec<String> {
    let mut queries = Vec::new();
    dashboards().iter().for_each(|(_, dashboard)| expressions(dashboard, &mut queries));
    let alerts = ALERTS.map(read).join("\n");
    for rest in alerts.split("expr: ").skip(1) {
        let lines = rest.lines().take_while(|line| {
            let line = line.trim();
            !line.is_empty() && !["for:", "labels:", "- ", "#"].iter().any(|key| line.starts_with(key))
        });
        queries.push(lines.collect::<Vec<_>>().join(" "));
    }
    queries
}

fn expressions(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            queries.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, queries));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, queries)),
        _ => {}
    }
}
