//! The simulators' answers without faults, and the requests that they refuse.

use idgate::domain::money::Billed;
use idgate::domain::outcome::Outcome;
use idgate::domain::personal::Secret;
use idgate::domain::verdict::Verdict;
use idgate::providers::{Endpoint, Stamp};
use idgate::server::sandbox::{Fault, Kind, People};

use super::{NUMBER, World, clock, ids, somebody, subject};

#[tokio::test]
async fn every_person_of_the_list_is_known_to_every_provider_that_takes_the_document() {
    for world in World::each() {
        for person in People::invented().iter() {
            let subject = subject(person.name.expose(), person.id_number.expose());
            if world.driver.kinds.contains(&subject.kind())
                && person.name.expose().chars().count() <= world.driver.name_limit
            {
                assert_eq!(world.verdict(&subject).await, Verdict::Match, "{}: {}", world.driver.name, person.note);
            }
        }
    }
}

#[tokio::test]
async fn another_name_is_a_mismatch_and_an_unlisted_number_is_no_record() {
    for world in World::each() {
        let provider = world.driver.name;
        assert_eq!(world.verdict(&subject("李四", NUMBER)).await, Verdict::Mismatch, "{provider}");
        assert_eq!(world.verdict(&subject("张三", "440524188001010014")).await, Verdict::NoRecord, "{provider}");
    }
}

#[tokio::test]
async fn calls_are_counted_per_person_and_billed_by_the_price_list() {
    for world in World::each() {
        let (handle, provider) = (&world.handle, world.driver.name);
        world.verdict(&somebody()).await;
        world.verdict(&subject("李四", NUMBER)).await;
        world.verdict(&subject("张三", "440524188001010014")).await;
        assert_eq!(handle.calls_of(provider, NUMBER), 2);
        assert_eq!(handle.calls_of(provider, "440524188001010014"), 1);
        assert_eq!((handle.calls(provider), handle.refused(provider), handle.verdicts(provider)), (3, 0, 3));
        let billed = Verdict::ALL.iter().filter(|verdict| world.driver.prices.billed(**verdict) == Billed::Yes).count();
        assert_eq!(handle.billed(provider), billed as u64, "{provider}");
    }
}

#[tokio::test]
async fn both_endpoints_answer() {
    for world in World::each() {
        for endpoint in 0..2 {
            let request = world.request(&somebody(), endpoint, &world.credential);
            assert!(world.send(request).await.answer().status().is_success());
        }
        assert_eq!(world.calls(), 2);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_an_account_fault_and_never_a_verdict_even_under_another_fault() {
    for world in World::each() {
        let wrong = world.credential.clone().with_secret(Secret::new("wrong"));
        world.set(r#"{"kind": "garbage"}"#);
        let answer = world.send(world.request(&somebody(), 0, &wrong)).await.answer();
        let fault = world.protocol.decode_response((&somebody()).into(), &answer).unwrap_err();
        assert_eq!(fault.outcome, Outcome::AccountFault, "{}: {fault:?}", world.driver.name);
        let provider = world.driver.name;
        assert_eq!((world.handle.refused(provider), world.handle.verdicts(provider)), (1, 0));
    }
}

#[tokio::test]
async fn every_documented_code_arrives_as_the_fault_it_means() {
    for world in World::each() {
        for code in world.driver.all_codes() {
            let refusal = idgate::providers::Refusal { code, retry_after: None };
            world.handle.set_fault(world.driver.name, Fault::from(Kind::Refuse(refusal))).unwrap();
            let fault = world.decoded(&somebody()).await.unwrap_err();
            let provider = world.driver.name;
            assert_eq!((fault.outcome, fault.reason), (code.outcome, code.reason), "{provider} {}", code.code);
        }
        assert_eq!(world.handle.billed(world.driver.name), 0);
    }
}

#[tokio::test]
async fn every_outcome_of_the_table_that_a_driver_documents_can_be_asked_for_by_name() {
    for world in World::each() {
        for code in world.driver.all_codes() {
            world.set(&format!(
                r#"{{"kind": "outcome", "outcome": "{}", "reason": "{}"}}"#,
                code.outcome.as_str(),
                code.reason.as_str()
            ));
            let fault = world.decoded(&somebody()).await.unwrap_err();
            assert_eq!((fault.outcome, fault.reason), (code.outcome, code.reason), "{}", code.code);
        }
    }
}

#[tokio::test]
async fn rows_that_share_a_code_are_chosen_by_their_message() {
    for world in World::each() {
        for code in world.driver.all_codes() {
            let fault = serde_json::json!({"kind": "code", "code": code.code, "message": code.message});
            world.set(&fault.to_string());
            let fault = world.decoded(&somebody()).await.unwrap_err();
            assert_eq!((fault.outcome, fault.reason), (code.outcome, code.reason), "{} {}", code.code, code.message);
        }
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_still_answered_on_the_socket_it_came_to() {
    // Drivers sign the host that the configuration names; in a sandbox that is the loopback socket.
    for world in World::each() {
        let endpoint = Endpoint::parse(&format!("http://localhost:{}", world.addresses[0].port())).unwrap();
        let stamp = Stamp { now: clock().now(), nonce: ids().nonce().to_string() };
        let request =
            world.protocol.encode_request((&somebody()).into(), &endpoint, &world.credential, &stamp).unwrap();
        assert!(world.send(request).await.answer().status().is_success());
    }
}
