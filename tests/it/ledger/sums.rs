//! Compares the total paid, by the ledger, with what the simulated providers counted.

use std::collections::BTreeSet;

use idgate::storage::ledger::{Call, Entry};

use super::Folder;
use crate::support::anybody;

const PROVIDERS: [&str; 4] = ["aliyun", "aliyun_intl", "muzhiyun", "yunyi"];

const QUESTIONS: usize = 10_000;
/// Requests in each batch; the faults change between batches.
const AT_ONCE: usize = 50;

/// A distinct price for each provider, so that no errors cancel out.
const PRICES: [u64; 4] = [1_000_003, 2_000_029, 3_000_017, 5_000_011];

/// Faults after which the call is billed although the response is unreadable here.
const PAID_FOR: [&str; 7] = [
    r#"{"kind": "garbage"}"#,
    r#"{"kind": "empty"}"#,
    r#"{"kind": "reset"}"#,
    r#"{"kind": "close"}"#,
    r#"{"kind": "truncated"}"#,
    r#"{"kind": "big"}"#,
    r#"{"kind": "slow", "delay": "700ms", "times": 10}"#,
];

/// Faults that no provider bills; for the last three, the gateway cannot know that.
const NOT_PAID_FOR: [&str; 5] = [
    r#"{"kind": "outcome", "outcome": "input_refused"}"#,
    r#"{"kind": "outcome", "outcome": "rate_limited", "times": 3}"#,
    r#"{"kind": "redirect"}"#,
    r#"{"kind": "html_502"}"#,
    r#"{"kind": "status", "status": 503}"#,
];

/// Whether the provider processed this call, as far as the faults above tell.
fn was_answered(call: &Call) -> bool {
    let reason = call.end.reason.as_deref();
    match &*call.end.outcome {
        "verdict" | "interrupted" => true,
        "unreadable" => reason != Some("redirect"),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_of_ten_thousand_questions_with_random_faults_is_the_providers_own_to_the_unit() {
    let folder = Folder::new();
    let provider = |(name, price): (&str, u64)| {
        let price = format!("{}.{:06}", price / 1_000_000, price % 1_000_000);
        format!(
            "[providers.{name}]\nmax_concurrency = 1000\nconnect_timeout = \"400ms\"\nattempt_timeout = \"400ms\"\ncall_limit = \"9s\"\n\
             price_yuan = {{ match = \"{price}\", mismatch = \"{price}\", no_record = \"{price}\" }}\n"
        )
    };
    let limits = "[breaker]\nconsecutive_failures = 1000000\nfailure_ratio = 1.0\nminimum_calls = 1000000\nslow_ratio = 1.0\n\
                  [budget]\nextra_attempts_per_minute = 1000000\n[chain]\nbudget = \"60s\"\n[server]\nrequest_timeout = \"60s\"\n\
                  [enumeration]\nnumbers_per_client = 0\n[purposes.default]\non_unknown = \"ask_next\"\n";
    let providers: String = PROVIDERS.into_iter().zip(PRICES).map(provider).collect();
    let gateway = folder.gateway().chain(&PROVIDERS).over(providers).over(limits).start().await;
    let mut chance = fastrand::Rng::with_seed(20_261_126);
    for _ in 0..QUESTIONS / AT_ONCE {
        for provider in PROVIDERS {
            match chance.u8(..10) {
                0..2 => gateway.fault(provider, chance.choice(PAID_FOR).unwrap()),
                2..4 => gateway.fault(provider, chance.choice(NOT_PAID_FOR).unwrap()),
                _ => gateway.mend(provider),
            }
        }
        let people: Vec<_> = (0..AT_ONCE).map(|_| anybody()).collect();
        futures_util::future::join_all(people.iter().map(|pair| gateway.ask(pair))).await;
    }
    let sandbox = gateway.sandbox.clone();
    assert!(gateway.stop().await, "late calls have ended too");
    let entries = folder.entries().await;
    let answers = entries.iter().filter(|entry| matches!(entry, Entry::Answer(_))).count();
    assert_eq!(answers, QUESTIONS, "every question is there");
    let calls = entries.iter().filter_map(|entry| if let Entry::Call(call) = entry { Some(call) } else { None });
    let calls: Vec<&Call> = calls.collect();
    let ids: BTreeSet<_> = calls.iter().map(|call| call.id).collect();
    assert_eq!(ids.len(), calls.len(), "each call once");
    for (provider, price) in PROVIDERS.into_iter().zip(PRICES) {
        let theirs =
            |word: &'static str| calls.iter().filter(move |call| call.provider == provider && call.end.billed == word);
        let sum = |calls: &mut dyn Iterator<Item = &&Call>| calls.map(|call| call.end.price_micro_yuan).sum::<u64>();
        let made = calls.iter().filter(|call| call.provider == provider).count() as u64;
        assert_eq!(made, sandbox.calls(provider), "{provider}: every call is there");
        let ours = sum(&mut theirs("yes")) + sum(&mut theirs("unknown").filter(|call| was_answered(call)));
        assert_eq!(ours, sandbox.billed(provider) * price, "{provider}: what was paid");
        assert_eq!(sum(&mut theirs("no")), 0, "{provider}: what costs nothing");
        for word in ["yes", "unknown"] {
            assert!(theirs(word).count() > 50, "{provider}: chance has left out {word}");
        }
    }
    assert!(calls.iter().any(|call| call.end.late), "some came late");
    folder.assert_sound().await;
}
