//! Several paths to one answer: REST and all dialects at once, idgate behind idgate, two instances as each other's
//! fallback.

use std::fmt::Write;

use futures_util::future::join_all;
use idgate::domain::verdict::Verdict;
use idgate::providers::{DRIVERS, Field, Part};

use super::{Answer, Speaker, hash, id_of, nobody, right, secret_of, section, served, speakers, wrong};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn one_person_asked_in_all_dialects_at_once_is_one_call_and_as_many_right_answers() {
    let key = format!("keys = [{{ id = \"rest\", sha256 = \"{}\" }}]", hash("idg_synthetic-key"));
    let gateway = TestGateway::new().over(section(&key)).start().await;
    for verdict in [right(), wrong()] {
        gateway.fault("aliyun", r#"{"kind": "slow", "delay": "300ms", "times": 1}"#);
        let before = DRIVERS.iter().map(|driver| gateway.sandbox.calls(driver.name)).sum::<u64>();
        let headers = [("authorization", "Bearer idg_synthetic-key")];
        let rest = gateway.ask_with(&verdict, &headers);
        let all = speakers();
        let dialects = join_all(all.iter().map(|speaker| speaker.ask(&gateway, &verdict)));
        let (rest, dialects) = tokio::join!(rest, dialects);
        for (speaker, answer) in all.iter().zip(&dialects) {
            let heard =
                speaker.heard(&verdict, answer).unwrap_or_else(|fault| panic!("{}: {fault:?}", speaker.label()));
            assert_eq!(heard.verdict.as_str(), rest.verdict(), "{}", speaker.label());
        }
        let after = DRIVERS.iter().map(|driver| gateway.sandbox.calls(driver.name)).sum::<u64>();
        assert_eq!(after - before, 1, "{}", rest.verdict());
    }
}

/// The sections of an idgate that has another idgate as its providers, over every protocol, each called separately.
fn in_front_of(inner: &TestGateway) -> String {
    let mut toml = String::new();
    for (driver, _) in served() {
        let scheme = driver.schemes[0];
        let line = |field: &Field| match (field.part, field.is_secret) {
            (Part::Id, true) => format!("{} = {{ value = \"{}\" }}\n", field.key, id_of(scheme)),
            (Part::Id, false) => format!("{} = \"{}\"\n", field.key, id_of(scheme)),
            (Part::Secret, _) => format!("{} = {{ value = \"{}\" }}\n", field.key, secret_of(scheme)),
            (Part::Token, _) => String::new(),
        };
        let credential: String = scheme.fields.iter().map(line).collect();
        let name = driver.name;
        write!(
            toml,
            "[providers.inner_{name}]\ndriver = \"{name}\"\nendpoints = [\"http://{}\"]\n{credential}\
             [purposes.{name}]\norder = [\"inner_{name}\"]\n",
            inner.public
        )
        .unwrap();
    }
    toml
}

#[tokio::test]
async fn an_idgate_behind_an_idgate_passes_every_verdict_unchanged() {
    let inner = TestGateway::new().unlisted(Verdict::NoRecord).over(section("")).start().await;
    let outer = TestGateway::new().over(in_front_of(&inner)).start().await;
    for driver in DRIVERS {
        for (pair, verdict) in [(right(), "match"), (wrong(), "mismatch"), (nobody(), "no_record")] {
            let mut body = pair.body();
            body["purpose"] = driver.name.into();
            let reply = outer.post(body.to_string(), &[]).await;
            assert_eq!(reply.verdict(), verdict, "{}: {reply:?}", driver.name);
            assert_eq!(reply.provider(), format!("inner_{}", driver.name));
            // The outer gateway's provider request id is the inner gateway's verification id.
            let reference = reply.body["provenance"]["provider_request_id"].as_str().unwrap();
            assert!(reference.parse::<uuid::Uuid>().is_ok_and(|id| id.get_version_num() == 7), "{reference}");
        }
    }
    assert_eq!(inner.sandbox.calls("aliyun"), 3, "the inner memory answers for all");
}

#[tokio::test]
async fn what_the_inner_one_cannot_answer_is_the_right_outcome_in_the_outer_one() {
    let inner = TestGateway::new().over(section("rate_limit = 1")).start().await;
    let outer =
        TestGateway::new().over(in_front_of(&inner)).over("[budget]\nextra_attempts_per_minute = 1000").start().await;
    for driver in DRIVERS {
        inner.fault(driver.name, r#"{"kind": "status", "status": 500}"#);
    }
    let mut seen = std::collections::BTreeSet::new();
    for driver in DRIVERS {
        for _ in 0..3 {
            let mut body = anybody().body();
            body["purpose"] = driver.name.into();
            let reply = outer.post(body.to_string(), &[]).await;
            assert!(reply.status.is_server_error(), "{}: {reply:?}", driver.name);
            seen.extend(reply.attempts().into_iter().map(|attempt| attempt.split('=').nth(1).unwrap().to_owned()));
        }
    }
    // The inner gateway's failures and throttling look like those of any other provider; nothing is unreadable.
    for outcome in &seen {
        let known = ["provider_error", "source_down", "rate_limited", "skipped_rate", "skipped_open"];
        assert!(known.iter().any(|known| outcome.starts_with(known)), "{seen:?}");
    }
    assert!(seen.iter().any(|outcome| outcome.starts_with("rate_limited")), "{seen:?}");
}

/// The sample code on the provider's page: calls the first endpoint, and the second if the first fails with 500 or in
/// any other way.
async fn auto_route(speaker: &Speaker, instances: [&TestGateway; 2]) -> (usize, Answer) {
    let mut last = None;
    for (index, instance) in instances.into_iter().enumerate() {
        let answer = speaker.ask(instance, &right()).await;
        let code = answer.body()["Code"].as_str().unwrap_or_default().to_owned();
        let goes_on = answer.status() >= 400 || code == "500";
        last = Some((index, answer));
        if !goes_on {
            break;
        }
    }
    last.unwrap()
}

#[tokio::test]
async fn the_samples_auto_route_finds_the_second_of_two_instances() {
    let [first, second] =
        [TestGateway::new().over(section("")).start().await, TestGateway::new().over(section("")).start().await];
    for driver in DRIVERS {
        first.fault(driver.name, r#"{"kind": "status", "status": 500}"#);
    }
    for way in [0, 1] {
        let speaker = Speaker::new("aliyun", way);
        let (index, answer) = auto_route(&speaker, [&first, &second]).await;
        assert_eq!((index, answer.word()), (1, "BizCode 1".to_owned()), "{answer:?}");
    }
    assert_eq!(first.sandbox.calls("aliyun"), 2);
    assert_eq!(second.sandbox.calls("aliyun"), 1);
}
