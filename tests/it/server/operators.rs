//! Authentication of operators on the admin listener.

use http::StatusCode;
use sha2::{Digest, Sha256};

use crate::support::pki::{Authority, asks};
use crate::support::{Reply, TestGateway};

const KEY: &str = "idg_synthetic-operator";

fn operator(name: &str, more: &str) -> String {
    let hash: String = hex::encode(Sha256::digest(KEY));
    format!("[operators.{name}]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\"{more} }}]\n")
}

async fn ask(gateway: &TestGateway, method: &str, path: &str, key: Option<&str>) -> Reply {
    let url = format!("{}://{}{path}", gateway.schemes[1], gateway.admin);
    let mut request = gateway.http.request(method.parse().unwrap(), url);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    Reply::of(request.send().await.unwrap()).await
}

/// Every route that requires an operator, and some that do not exist.
const ROUTES: [(&str, &str); 15] = [
    ("GET", "/metrics"),
    ("GET", "/v1/status"),
    ("POST", "/v1/providers/aliyun/isolate"),
    ("POST", "/v1/providers/aliyun/restore"),
    ("POST", "/v1/reload"),
    ("POST", "/v1/subjects/forget"),
    ("GET", "/v1/verifications"),
    ("GET", "/v1/verifications/0199f3b2-7c1e-7c55-9d0a-4c2f0f6b9a11"),
    ("POST", "/v1/verifications/search"),
    ("GET", "/sandbox/people"),
    ("PUT", "/sandbox/aliyun/fault"),
    ("GET", "/no/such/route"),
    ("DELETE", "/metrics"),
    ("GET", "/livez/"),
    ("GET", "//livez"),
];

#[tokio::test]
async fn with_operators_every_route_but_the_probes_wants_one() {
    let gateway = TestGateway::new().over(operator("oncall", "")).start().await;
    for (method, path) in ROUTES {
        for key in [None, Some("wrong"), Some("idg_synthetic-operato")] {
            let reply = ask(&gateway, method, path, key).await;
            assert_eq!((reply.status, reply.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"), "{method} {path}");
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
        let let_in = ask(&gateway, method, path, Some(KEY)).await;
        assert_ne!(let_in.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    for probe in ["/livez", "/readyz"] {
        assert_eq!(ask(&gateway, "GET", probe, None).await.status, StatusCode::OK);
    }
    assert_eq!(ask(&gateway, "POST", "/v1/providers/aliyun/isolate", Some(KEY)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&gateway, "GET", "/v1/status", Some(KEY)).await.body["providers"][0]["isolated"], true);
}

#[tokio::test]
async fn a_clients_key_opens_nothing_here_and_an_expired_one_neither() {
    let client = operator("payout", "").replace("operators", "clients");
    let other = "[operators.oncall]\nkeys = [{ id = \"o\", sha256 = \"".to_owned() + &"12".repeat(32) + "\" }]\n";
    let gateway = TestGateway::new().over(client + &other).start().await;
    assert_eq!(ask(&gateway, "GET", "/metrics", Some(KEY)).await.status, StatusCode::UNAUTHORIZED);
    let expired = operator("oncall", ", expires = \"2020-01-01T00:00:00Z\"");
    let gateway = TestGateway::new().over(expired).start().await;
    assert_eq!(ask(&gateway, "GET", "/metrics", Some(KEY)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_operators_everybody_on_loopback_is_let_in() {
    let gateway = TestGateway::new().start().await;
    assert_eq!(ask(&gateway, "GET", "/metrics", None).await.status, StatusCode::OK);
    assert_eq!(ask(&gateway, "GET", "/metrics", Some("whatever")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_operator_is_known_by_certificate() {
    let authority = Authority::new("operators");
    let (oncall, stranger) = (authority.client("spiffe://test/oncall"), authority.client("spiffe://test/payout"));
    let tls = authority.server().section("admin_tls", &asks(&authority, "optional"));
    let by = "[operators.oncall]\ncertificates = [{ id = \"c\", uri = \"spiffe://test/oncall\" }]\n";
    let as_whom = |who| TestGateway::new().over(format!("{tls}{by}")).http(authority.http(who)).start();
    let gateway = as_whom(Some(&oncall)).await;
    assert_eq!(ask(&gateway, "GET", "/v1/status", None).await.status, StatusCode::OK);
    // If a key is sent, it must be valid, even with a valid certificate.
    assert_eq!(ask(&gateway, "GET", "/v1/status", Some("wrong")).await.status, StatusCode::UNAUTHORIZED);
    let gateway = as_whom(Some(&stranger)).await;
    let refused = ask(&gateway, "GET", "/v1/status", None).await;
    assert_eq!(refused.body["errors"][0]["reason"], "certificate_unknown", "{refused:#?}");
    let gateway = as_whom(None).await;
    let refused = ask(&gateway, "GET", "/v1/status", None).await;
    assert_eq!(refused.body["errors"][0]["reason"], "operator_missing", "{refused:#?}");
    assert_eq!(ask(&gateway, "GET", "/livez", None).await.status, StatusCode::OK);
}
