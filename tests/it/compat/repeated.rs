//! What is one request and what are two. The codecs are asked directly where HTTP/1 takes off what HTTP/2 hands on.

use std::cell::RefCell;

use bytes::Bytes;
use http::Request;
use idgate::domain::personal::Secret;
use idgate::providers::alibaba::x_ca::Algorithm;
use idgate::providers::alibaba::{acs3, x_ca};
use idgate::providers::{Claim, Credential, Keyring, Stamp, Taken};
use jiff::Timestamp;

use super::{Proof, Speaker, right, section, send, speakers};
use crate::support::TestGateway;

/// The key ring of one caller, which knows again what it was shown.
struct Memory {
    credential: Credential,
    seen: RefCell<Vec<String>>,
}

impl Memory {
    fn of(speaker: &Speaker) -> Self {
        let (id, secret) = (speaker.id.clone(), Secret::new(speaker.secret.as_str()));
        let credential = match speaker.proof {
            Proof::V1 | Proof::V3 => Credential::AccessKey { id, secret, security_token: None },
            Proof::AppKey(_) => Credential::AppKey { key: id, secret },
            Proof::AppCode => Credential::AppCode(secret),
        };
        Self { credential, seen: RefCell::default() }
    }
}

impl Keyring for Memory {
    fn find(&self, claim: Claim<'_>) -> Option<&Credential> {
        self.credential.find(claim)
    }

    fn take_nonce(&self, _claim: Claim<'_>, nonce: &str, _until: Timestamp) -> Taken {
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
    speaker.protocol().decode_request(request, keys, &stamp()).0.is_ok()
}

#[test]
fn no_secret_and_no_signature_shows_in_the_debug_form_of_what_is_presented() {
    for claim in [Claim::AppCode("canary"), Claim::AccessKeyId("canary"), Claim::AppKey("canary")] {
        assert!(!format!("{claim:?}").contains("canary"), "{claim:?}");
    }
    let secret = Secret::new("s");
    let mut request = Request::get("http://idgate.example/").body(Bytes::new()).unwrap();
    acs3::sign(&mut request, "canary", &secret).unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let shown = format!("{:?}", acs3::Presented::read(request.headers()).unwrap());
    assert!(!shown.contains("canary") && !shown.contains(&authorization[authorization.len() - 64..]), "{shown}");
    // Without a nonce the signature stands for it.
    request.headers_mut().insert(x_ca::TIMESTAMP, stamp().now.as_millisecond().into());
    let listed = ["x-ca-key", "x-ca-timestamp"];
    x_ca::sign_listed(&mut request, &secret, Algorithm::default(), &listed).unwrap();
    let seen = x_ca::verify(&request, &secret, stamp().now).unwrap();
    let shown = format!("{seen:?}");
    assert!(!seen.nonce.is_empty() && !shown.contains(seen.nonce), "{shown}");
}

#[test]
fn blanks_around_a_header_make_no_other_request() {
    for speaker in speakers().into_iter().filter(Speaker::is_signed) {
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
                // V3 signs what is between the blanks; who signs that is believed with them.
                assert!(is_read || speaker.proof != Proof::V3 || name == "authorization", "{what}");
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
    let signed = [Speaker::new("aliyun", Proof::V3), Speaker::new("muzhiyun", Proof::AppKey(Algorithm::default()))];
    let answered = signed[0].request(&gateway, &right());
    assert_eq!(send(&gateway, answered.clone()).await.status(), 200);
    for speaker in &signed {
        // Refused as too fast, and yet believed.
        for _ in 0..1000 {
            speaker.ask(&gateway, &right()).await;
        }
    }
    assert_eq!(gateway.metric("idgate_compat_nonces_refused_total", &[]).await, 1.0);
    for (speaker, said) in signed.iter().zip([(400, "Throttling.User"), (429, "T429PA")]) {
        let answer = speaker.ask(&gateway, &right()).await;
        assert_eq!(answer.said(), (said.0, said.1.to_owned()), "{}: {answer:?}", speaker.label());
    }
    assert_eq!(gateway.metric("idgate_compat_nonces_refused_total", &[]).await, 3.0);
    assert_eq!(send(&gateway, answered).await.word(), "SignatureNonceUsed");
}
