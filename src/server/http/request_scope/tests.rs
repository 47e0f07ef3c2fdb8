//! However a request ends, it gets exactly one log line and one count.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::FutureExt;
use prometheus::{Registry, TextEncoder};
use serde_json::Value;

use super::super::access_log::AccessLog;
use super::super::metrics::Metrics;
use super::super::trace::Tracer;
use super::*;
use crate::domain::clock::{Clock, Ids};

/// A recorder with its own log file and registry.
struct Recorded {
    log: AccessLog,
    recorder: Recorder,
    registry: Registry,
    file: PathBuf,
}

impl Recorded {
    fn new(test: &str) -> Self {
        let file = std::env::temp_dir().join(format!("idgate-scope-{test}-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let registry = Registry::new();
        let log = AccessLog::file(&file).unwrap();
        let clock = Clock::fixed(jiff::Timestamp::UNIX_EPOCH);
        let ids = Ids::new(uuid::Uuid::nil, uuid::Uuid::nil);
        let recorder =
            Recorder::new(log.clone(), Metrics::register(&registry).unwrap(), clock, ids, Tracer::default(), None);
        Self { log, recorder, registry, file }
    }

    fn scope(&self) -> RequestScope {
        RequestScope::unknown(&self.recorder, Audience::Services)
    }

    /// Status and code of the log line. Fails unless there is exactly one line and one count.
    fn ended(&self) -> (u64, Option<String>) {
        assert!(self.log.flush(Duration::from_secs(60)));
        let text = std::fs::read_to_string(&self.file).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let status = line["status"].as_u64().unwrap();
        let counts = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let counted: Vec<_> =
            counts.lines().filter(|line| line.starts_with("idgate_requests_total") && !line.ends_with(" 0")).collect();
        assert!(counted.len() == 1 && counted[0].contains(&format!("status=\"{status}\"")), "{counted:?}");
        assert!(counted[0].ends_with(" 1"), "{counted:?}");
        (status, line["code"].as_str().map(str::to_owned))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn internal() -> (u64, Option<String>) {
    (500, Some("internal".to_owned()))
}

#[test]
fn an_answer_and_a_refusal() {
    let answered = Recorded::new("answer");
    assert_eq!(answered.scope().respond(Ok(Response::default())).status(), 200);
    assert_eq!(answered.ended(), (200, None));
    let refused = Recorded::new("refusal");
    refused.scope().respond(Err(Box::new(Problem::new(Code::NotAcceptable))));
    assert_eq!(refused.ended(), (406, Some("not_acceptable".to_owned())));
}

#[test]
fn a_caller_who_leaves() {
    let recorded = Recorded::new("left");
    let mut scope = recorded.scope();
    let handler = async move {
        let result = caught(pin!(async {
            let _waiting = scope.wait();
            std::future::pending().await
        }))
        .await;
        scope.respond(result)
    };
    assert!(pin!(handler).now_or_never().is_none());
    assert_eq!(recorded.ended(), (499, None));
}

#[test]
fn a_panic_in_the_work_and_one_in_writing_the_answer() {
    let at_work = Recorded::new("panic");
    let handler = async {
        let result = caught(pin!(async { panic!("a defect") })).await;
        at_work.scope().respond(result)
    };
    assert_eq!(handler.now_or_never().unwrap().status(), 500);
    assert_eq!(at_work.ended(), internal());
    let writing = Recorded::new("panic-write");
    let response = writing.scope().answer(&Ok(()), |_| panic!("a defect"));
    assert_eq!(response.status(), 500);
    assert_eq!(writing.ended(), internal());
}

#[test]
fn a_panic_that_nobody_catches() {
    let recorded = Recorded::new("uncaught");
    let scope = recorded.scope();
    let lost = catch_unwind(AssertUnwindSafe(move || {
        let _scope = scope;
        panic!("a defect")
    }));
    assert!(lost.is_err());
    assert_eq!(recorded.ended(), internal());
}
