//! Which requests count as the same and which as different. Calls the codecs directly, because HTTP/1 strips blanks
//! that HTTP/2 passes on.

use std::cell::RefCell;

use bytes::Bytes;
use http::Request;
use idgate::domain::personal::Secret;
use idgate::providers::alibaba::schemes::ACCESS_KEY;
use idgate::providers::alibaba::x_ca::Algorithm;
use idgate::providers::alibaba::{acs3, x_ca};
use idgate::providers::{Credential, CredentialStore, Presented, Stamp, Taken, schemes};
use jiff::Timestamp;

use super::{Speaker, right, section, send, speakers};
use crate::support::TestGateway;

/// The keys of one caller, with the nonces already seen.
struct Memory {
    credential: Credential,
    seen: RefCell<Vec<String>>,
}

impl Memory {
    fn of(speaker: &Speaker) -> Self {
        let credential = speaker.credential();
        Self { credential, seen: RefCell::default() }
    }
}

impl CredentialStore for Memory {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        self.credential.find(presented)
    }

    fn take_nonce(&self, _presented: Presented<'_>, nonce: &str, _until: Timestamp) -> Taken {
        let mut seen = self.seen.borrow_mut();
        if seen.iter().any(|known| known == nonce) {
            return Taken::Seen;
        }
        seen.push(nonce.to_owned());
        Taken::New
    }
}

fn stamp() -> Stamp {
    Stamp { now: "2026-11-22T08:00:00Z".parse().unwrap(), nonce: "0b6d5f5e".to_owned() }
}

fn is_served(speaker: &Speaker, request: &Request<Bytes>, keys: &Memory) -> bool {
    speaker.service().decode_request(request, keys, &stamp()).0.is_ok()
}

#[test]
fn no_secret_and_no_signature_shows_in_the_debug_form_of_what_is_presented() {
    for scheme in schemes() {
        let presented = Presented::new(scheme, "canary");
        assert!(!format!("{presented:?}").contains("canary"), "{presented:?}");
    }
    let secret = Secret::new("s");
    let mut request = Request::get("http://idgate.example/").body(Bytes::new()).unwrap();
    acs3::sign(&mut request, &Credential::new(&ACCESS_KEY, "canary", secret.clone())).unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let shown = format!("{:?}", acs3::Authorization::read(request.headers()).unwrap());
    assert!(!shown.contains("canary") && !shown.contains(&authorization[authorization.len() - 64..]), "{shown}");
    // Without a nonce, the signature serves as the nonce.
    request.headers_mut().insert(x_ca::TIMESTAMP, stamp().now.as_millisecond().into());
    let listed = ["x-ca-key", "x-ca-timestamp"];
    x_ca::sign_listed(&mut request, &secret, Algorithm::default(), &listed).unwrap();
    let seen = x_ca::verify(&request, &secret, stamp().now).unwrap();
    let shown = format!("{seen:?}");
    assert!(!seen.nonce.is_empty() && !shown.contains(seen.nonce), "{shown}");
}

#[test]
fn blanks_around_a_header_make_no_other_request() {
    for speaker in speakers().into_iter().filter(|speaker| speaker.is_signed() && speaker.refuses_replays()) {
        let origin = speaker.signed("idgate.example", &right(), &stamp());
        assert!(is_served(&speaker, &origin, &Memory::of(&speaker)), "{}", speaker.label());
        for name in origin.headers().keys() {
            for (before, after) in [("", " "), (" ", ""), ("", "\t"), ("\t ", " \t")] {
                let value = format!("{before}{}{after}", origin.headers()[name].to_str().unwrap());
                let mut padded = origin.clone();
                padded.headers_mut().insert(name, value.parse().unwrap());
                let what = format!("{} {name}: {value:?}", speaker.label());
                let keys = Memory::of(&speaker);
                assert!(is_served(&speaker, &origin, &keys) && !is_served(&speaker, &padded, &keys), "{what}");
                let keys = Memory::of(&speaker);
                let is_read = is_served(&speaker, &padded, &keys);
                assert_eq!(is_served(&speaker, &origin, &keys), !is_read, "{what}");
                // A scheme that signs trimmed values accepts the untrimmed ones.
                let signs_trimmed = speaker.covers().list == "authorization";
                assert!(is_read || !signs_trimmed || name == "authorization", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_has_used_up_its_room_is_too_fast_and_no_request_of_it_is_answered_again() {
    let gateway = TestGateway::new()
        .over(section("rate_limit = 1\nburst = 1"))
        .over("[compat]\nnonces_per_key = 1000")
        .start()
        .await;
    let signed = [Speaker::new("aliyun", 0), Speaker::new("muzhiyun", 1)];
    let answered = signed[0].request(&gateway, &right());
    assert_eq!(send(&gateway, answered.clone()).await.status(), 200);
    for speaker in &signed {
        // Refused by the rate limit, although authenticated.
        for _ in 0..1000 {
            speaker.ask(&gateway, &right()).await;
        }
    }
    assert_eq!(gateway.metric("idgate_compat_nonces_refused_total", &[]).await, 1.0);
    for (speaker, said) in signed.iter().zip([(400, "Throttling.User"), (429, "T429PA")]) {
        let answer = speaker.ask(&gateway, &right()).await;
        assert_eq!(answer.said(), (said.0, said.1.to_owned()), "{}: {answer:?}", speaker.label());
        // As promised for every throttling: when to come back, in the header that these clients read.
        let [millis, seconds] = ["x-acs-retry-after", "retry-after"].map(|name| answer.header(name).parse::<u64>());
        let wait = millis.map(|millis| millis / 1000).or(seconds).unwrap_or_default();
        assert!((1..=3600).contains(&wait), "{}: {answer:?}", speaker.label());
    }
    assert_eq!(gateway.metric("idgate_compat_nonces_refused_total", &[]).await, 3.0);
    assert_eq!(send(&gateway, answered).await.word(), "SignatureNonceUsed");
}
