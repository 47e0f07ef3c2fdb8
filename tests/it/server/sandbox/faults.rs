//! Every fault of a simulator, as a client sees it.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;
use http::header::LOCATION;
use idgate::domain::outcome::{Outcome, Reason};
use idgate::domain::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NUMBER, World, eventually, somebody, subject};

/// The system error that caused the client's error.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[tokio::test]
async fn a_hang_is_silent_until_the_client_leaves_and_the_call_is_counted() {
    for world in World::each() {
        world.set(r#"{"kind": "hang"}"#);
        let subject = somebody();
        tokio::select! {
            got = world.ask(&subject) => panic!("{got:?}"),
            () = eventually(|| world.calls() == 1) => {}
        }
        assert_eq!(world.handle.calls_of(world.driver.name, NUMBER), 1);
        assert_eq!(world.handle.billed(world.driver.name), 1, "a lost answer may cost money");
    }
}

#[tokio::test]
async fn a_stop_ends_a_hang() {
    for world in World::each() {
        world.set(r#"{"kind": "hang"}"#);
        let subject = somebody();
        let (got, ()) = tokio::join!(world.ask(&subject), async {
            eventually(|| world.calls() == 1).await;
            world.stop.cancel();
        });
        got.broken();
        let address = world.addresses[0];
        world.sandbox.closed().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_slow_or_dripped_answer_is_the_right_one() {
    for world in World::each() {
        for fault in [r#"{"kind": "slow", "delay": "50ms"}"#, r#"{"kind": "drip", "interval": "1ms"}"#] {
            world.set(fault);
            assert_eq!(world.verdict(&somebody()).await, Verdict::Match, "{} {fault}", world.driver.name);
        }
    }
}

#[tokio::test]
async fn a_reset_is_a_real_one_after_the_request_was_read() {
    for world in World::each() {
        let error = world.spoiled(r#"{"kind": "reset"}"#).await.broken();
        assert_eq!(io_kind(&error), Some(io::ErrorKind::ConnectionReset), "{error:?}");
        assert_eq!(world.calls(), 1);
    }
}

#[tokio::test]
async fn a_close_is_an_orderly_end_without_an_answer() {
    for world in World::each() {
        let error = world.spoiled(r#"{"kind": "close"}"#).await.broken();
        assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
        assert_ne!(io_kind(&error), Some(io::ErrorKind::ConnectionReset), "{error:?}");
        assert_eq!(world.calls(), 1);
    }
}

#[tokio::test]
async fn a_truncated_body_begins_and_breaks_off() {
    for world in World::each() {
        let error = world.spoiled(r#"{"kind": "truncated"}"#).await.broken();
        assert!(error.is_body() || error.is_decode(), "the head arrived: {error:?}");
    }
}

#[tokio::test]
async fn no_spoilt_document_is_ever_a_verdict() {
    for world in World::each() {
        for fault in ["garbage", "empty", "html_502", "redirect"] {
            let answer = world.spoiled(&format!(r#"{{"kind": "{fault}"}}"#)).await.answer();
            let read = world.protocol.decode_response((&somebody()).into(), &answer).unwrap_err();
            let expected = match fault {
                "redirect" => Some((Outcome::Unreadable, Reason::Redirect)),
                "html_502" => Some((Outcome::ProviderError, Reason::Unspecified)),
                _ => Some((Outcome::Unreadable, Reason::Garbage)),
            };
            assert_eq!(Some((read.outcome, read.reason)), expected, "{} {fault}", world.driver.name);
        }
    }
}

#[tokio::test]
async fn a_bare_status_is_never_a_verdict() {
    for world in World::each() {
        for status in [200, 204, 400, 403, 404, 429, 500, 503, 666] {
            let answer = world.spoiled(&format!(r#"{{"kind": "status", "status": {status}}}"#)).await.answer();
            assert_eq!(answer.status().as_u16(), status);
            assert!(
                world.protocol.decode_response((&somebody()).into(), &answer).is_err(),
                "{} {status}",
                world.driver.name
            );
        }
    }
}

#[tokio::test]
async fn a_big_answer_is_tempting_and_over_two_mebibytes() {
    for world in World::each() {
        let answer = world.spoiled(r#"{"kind": "big"}"#).await.answer();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.body().len() > 2 * 1024 * 1024);
    }
}

#[tokio::test]
async fn a_redirect_leads_to_another_socket_where_following_it_would_be_counted() {
    for world in World::each() {
        let answer = world.spoiled(r#"{"kind": "redirect"}"#).await.answer();
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        let location: http::Uri = answer.headers()[LOCATION].to_str().unwrap().parse().unwrap();
        let port = location.port_u16().unwrap();
        assert!(world.addresses.iter().all(|address| address.port() != port));
        assert_eq!(world.calls(), 1);
        let mut followed = world.request(&somebody(), 0, &world.credential);
        *followed.uri_mut() = location;
        assert_eq!(world.send(followed).await.answer().status(), StatusCode::OK);
        assert_eq!(world.calls(), 2);
    }
}

#[tokio::test]
async fn a_wrong_echo_is_noticed_or_refused_where_there_is_no_echo() {
    for world in World::each() {
        let fault = idgate::server::sandbox::Kind::WrongEcho;
        if world.handle.set_fault(world.driver.name, fault.into()).is_err() {
            continue;
        }
        for person in idgate::server::sandbox::People::invented().iter() {
            let subject = subject(person.name.expose(), person.id_number.expose());
            if world.driver.kinds.contains(&subject.kind()) {
                let fault = world.decoded(&subject).await.unwrap_err();
                assert_eq!(fault.reason, Reason::WrongEcho, "{} {}", world.driver.name, person.note);
            }
        }
    }
}

#[tokio::test]
async fn a_closed_port_refuses_and_opens_again_where_it_was() {
    for world in World::each() {
        world.ask(&somebody()).await.answer();
        let error = world.spoiled(r#"{"kind": "refuse_connections", "endpoint": 0}"#).await;
        assert!(matches!(&error, super::Got::Broken(_)), "{error:?}");
        assert!(TcpStream::connect(world.addresses[0]).await.is_err());
        assert!(TcpStream::connect(world.addresses[1]).await.is_ok());
        world.handle.clear_fault(world.driver.name).unwrap();
        assert_eq!(world.verdict(&somebody()).await, Verdict::Match);
    }
}

#[tokio::test]
async fn a_fault_keeps_to_its_times_its_endpoint_and_its_person() {
    for world in World::each() {
        world.set(&format!(
            r#"{{"kind": "status", "status": 500, "times": 2, "endpoint": 1, "id_number": "{NUMBER}"}}"#
        ));
        let status = async |subject, endpoint| {
            world.send(world.request(&subject, endpoint, &world.credential)).await.answer().status().as_u16()
        };
        assert_eq!(status(somebody(), 0).await, 200, "another endpoint");
        assert_eq!(status(subject("张测试", "110101199003079972"), 1).await, 200, "another person");
        assert_eq!(status(somebody(), 1).await, 500);
        assert_eq!(status(somebody(), 1).await, 500);
        assert_eq!(status(somebody(), 1).await, 200, "its times are over");
    }
}

#[tokio::test]
async fn a_request_that_is_not_one_is_answered_and_does_no_harm() {
    for world in World::each() {
        let mut client = TcpStream::connect(world.addresses[0]).await.unwrap();
        client
            .write_all(b"POST /nowhere?a=%ff HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n\xff\x00!")
            .await
            .unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        // Some services answer everything with 200, so the status is not checked.
        assert!(head.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&head));
        assert_eq!(world.handle.verdicts(world.driver.name), 0);
        tokio::time::timeout(Duration::from_secs(60), world.ask(&somebody())).await.unwrap().answer();
    }
}
