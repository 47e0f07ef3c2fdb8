//! The control routes, used as by a person at a terminal.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{NUMBER, World, somebody};

impl World {
    async fn control(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let response = idgate::server::sandbox::router(self.handle.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }
}

#[tokio::test]
async fn a_fault_is_set_and_cleared_by_hand() {
    for world in World::each() {
        let path = format!("/sandbox/{}/fault", world.driver.name);
        let (status, _) = world.control(Method::PUT, &path, r#"{"kind": "status", "status": 503}"#).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(world.ask(&somebody()).await.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(world.control(Method::DELETE, &path, "").await.0, StatusCode::NO_CONTENT);
        assert_eq!(world.ask(&somebody()).await.answer().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_calls_are_shown_with_the_synthetic_people_only() {
    for world in World::each() {
        let provider = world.driver.name;
        world.ask(&somebody()).await.answer();
        world.ask(&super::subject("张三", "440524188001010014")).await.answer();
        let (_, shown) = world.control(Method::GET, &format!("/sandbox/{provider}/calls"), "").await;
        assert_eq!((&shown["calls"], &shown["verdicts"], &shown["refused"]), (&json!(2), &json!(2), &json!(0)));
        assert_eq!(shown["people"], json!([{"name": "张三", "id_number": NUMBER, "calls": 1}]));
    }
}

#[tokio::test]
async fn the_people_are_shown() {
    let world = World::each().next().unwrap();
    let (status, people) = world.control(Method::GET, "/sandbox/people", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(people[0]["id_number"], NUMBER);
    assert!(people.as_array().unwrap().len() >= 20);
}

#[tokio::test]
async fn the_places_that_hand_out_keys_are_shown_broken_and_mended_by_hand() {
    let world = World::each().next().unwrap();
    let (_, shown) = world.control(Method::GET, "/sandbox/credentials", "").await;
    assert_eq!(shown["issued"], 0);
    let uri = shown["places"]["uri"]["url"].as_str().unwrap().to_owned();
    let get = async || crate::support::client().get(&uri).send().await.unwrap().text().await.unwrap();
    assert!(get().await.contains("\"SecurityToken\""));
    let fault = "/sandbox/credentials/uri/fault";
    assert_eq!(world.control(Method::PUT, fault, r#"{"lie": "not_success"}"#).await.0, StatusCode::NO_CONTENT);
    assert!(!get().await.contains("\"SecurityToken\""));
    assert_eq!(world.control(Method::DELETE, fault, "").await.0, StatusCode::NO_CONTENT);
    assert!(get().await.contains("\"SecurityToken\""));
    assert_eq!(world.control(Method::DELETE, "/sandbox/credentials", "").await.0, StatusCode::NO_CONTENT);
    let (_, shown) = world.control(Method::GET, "/sandbox/credentials", "").await;
    assert_eq!((&shown["places"]["uri"]["requests"], &shown["places"]["sts"]["requests"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn a_mistake_is_a_problem_document_that_names_the_remedy() {
    let world = World::each().next().unwrap();
    let fault = format!("/sandbox/{}/fault", world.driver.name);
    for (method, path, body, status, says) in [
        (Method::PUT, "/sandbox/nobody/fault", r#"{"kind": "hang"}"#, 404, world.driver.name),
        (Method::DELETE, "/sandbox/nobody/fault", "", 404, world.driver.name),
        (Method::GET, "/sandbox/nobody/calls", "", 404, world.driver.name),
        (Method::PUT, &fault, r#"{"kind": "hang""#, 400, "kind"),
        (Method::PUT, &fault, r#"{"kind": "code", "code": "none such"}"#, 400, "There are:"),
        (Method::PUT, &fault, r#"{"kind": "hang", "endpoint": 2}"#, 422, "has 2"),
        (Method::PUT, "/sandbox/credentials/nobody/fault", r#""down""#, 404, "metadata"),
        (Method::PUT, "/sandbox/credentials/sts/fault", r#"{"kind": "hang"}"#, 400, "down"),
    ] {
        let (got, problem) = world.control(method, path, body).await;
        assert_eq!(got.as_u16(), status, "{path} {body}: {problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}
