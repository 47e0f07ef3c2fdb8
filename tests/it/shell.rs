//! The files around the binary: the dashboards and the alerts name only series that exist, and the alert rules pass
//! their tests.
//!
//! This makes a renamed series fail here and not in production. To add a series, put its name in [`SERIES`], as in
//! docs/operations.md; its use in `config/` is optional.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Every series that the service promises, named as in its `# TYPE` lines.
const SERIES: &[&str] = &[
    "idgate_account_fault",
    "idgate_attempt_duration_seconds",
    "idgate_attempts_total",
    "idgate_billed_calls_total",
    "idgate_breaker_state",
    "idgate_breaker_transitions_total",
    "idgate_budget_refused_calls_total",
    "idgate_budget_used_ratio",
    "idgate_build_info",
    "idgate_cache_entries",
    "idgate_calls_avoided_total",
    "idgate_capacity_refusals_total",
    "idgate_client_key_expiry_timestamp_seconds",
    "idgate_clock_offset_seconds",
    "idgate_clock_steps_total",
    "idgate_compat_nonces_refused_total",
    "idgate_dns_lookups_total",
    "idgate_config_checked_timestamp_seconds",
    "idgate_config_reloads_total",
    "idgate_cost_yuan_total",
    "idgate_credential_expiry_timestamp_seconds",
    "idgate_credential_refreshes_total",
    "idgate_duplicate_bills_total",
    "idgate_enumeration_suspected_total",
    "idgate_fallbacks_total",
    "idgate_in_flight",
    "idgate_ledger_available",
    "idgate_ledger_behind_entries",
    "idgate_ledger_commit_seconds",
    "idgate_ledger_entries_total",
    "idgate_ledger_lost_total",
    "idgate_ledger_removal_held",
    "idgate_ledger_spooled_total",
    "idgate_log_lines_left_out_total",
    "idgate_log_lines_lost_total",
    "idgate_overhead_seconds",
    "idgate_package_days_left",
    "idgate_package_end_timestamp_seconds",
    "idgate_package_remaining_ratio",
    "idgate_package_remaining_calls",
    "idgate_possible_cost_yuan_total",
    "idgate_provider_available",
    "idgate_request_duration_seconds",
    "idgate_requests_total",
    "idgate_saved_yuan_total",
    "idgate_subject_holds",
    "idgate_tls_certificate_expiry_timestamp_seconds",
    "idgate_ledger_oldest_unmoved_seconds",
    "idgate_ledger_postgres_up",
    "idgate_ledger_partition_missing",
    "idgate_ledger_sent_again_total",
    "idgate_postgres_connections",
    "idgate_budget_slice",
    "idgate_replicas",
    "idgate_replicas_differ",
    "idgate_replicas_most",
    "idgate_shared_command_seconds",
    "idgate_shared_commands_total",
    "idgate_shared_forged_total",
    "idgate_shared_forgotten_late_total",
    "idgate_shared_questions_total",
    "idgate_shared_up",
    "idgate_ledger_spool_bytes",
    "idgate_ledger_spool_most_bytes",
    "idgate_tls_handshake_failures_total",
    "idgate_verdicts_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

/// The files that name series.
pub const FILES: &[&str] = &[
    "config/grafana/dashboards/idgate.json",
    "config/grafana/dashboards/idgate-money.json",
    "config/grafana/dashboards/idgate-replicas.json",
    "config/grafana/dashboards/idgate-service.json",
    "config/prometheus/alerts.yml",
    "config/prometheus/alerts.test.yml",
    "config/prometheus/alerts-replicas.yml",
    "config/prometheus/alerts-replicas.test.yml",
];

/// Every series that the dashboards, the alerts and their tests name, with names as in the `# TYPE` lines of
/// `/metrics`.
pub fn series_named_in_shell_files() -> BTreeSet<String> {
    FILES.iter().flat_map(|file| series_named_in(&std::fs::read_to_string(in_repository(file)).unwrap())).collect()
}

/// The words of `text` that begin like a series; the parts of a histogram count as the histogram.
fn series_named_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("idgate_") || word.starts_with("process_"))
        .map(|word| ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word))
        .map(str::to_owned)
        .collect()
}

fn in_repository(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

#[test]
fn a_series_is_found_wherever_a_query_can_have_it() {
    let text = r#"sum(rate(idgate_overhead_seconds_bucket{a="b"}[5m])) / (idgate_overhead_seconds_count+process_x) "idgate" my_idgate_no"#;
    let expected = ["idgate_overhead_seconds", "process_x"].map(str::to_owned);
    assert_eq!(series_named_in(text), BTreeSet::from(expected));
}

#[test]
fn dashboard_and_alerts_name_only_series_that_exist() {
    let named = series_named_in_shell_files();
    let promised: BTreeSet<String> = SERIES.iter().map(|&name| name.to_owned()).collect();
    let invented: Vec<_> = named.difference(&promised).collect();
    assert!(invented.is_empty(), "no such series: {invented:?}");
    let unseen: Vec<_> = promised.difference(&named).collect();
    assert!(unseen.is_empty(), "neither on the dashboard nor in an alert: {unseen:?}");
}

#[test]
fn no_dashboard_is_left_out() {
    let folder = in_repository("config/grafana/dashboards").read_dir().unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> = names.map(|name| format!("config/grafana/dashboards/{name}")).collect();
    let listed = FILES.iter().filter(|file| file.ends_with(".json")).map(|&file| file.to_owned());
    assert_eq!(there, listed.collect());
}

#[test]
#[ignore = "needs promtool"]
fn the_rules_of_prometheus_are_valid_and_fire_as_tested() {
    for task in
        [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]]
    {
        let run = Command::new("promtool").args(task).current_dir(in_repository("config/prometheus")).output().unwrap();
        let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(run.status.success(), "promtool {}: {said}", task.join(" "));
    }
}
