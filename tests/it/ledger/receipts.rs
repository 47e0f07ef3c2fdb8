//! Receipts: their content, verification without the gateway, access, and changes of keys.

use hmac::{Hmac, KeyInit, Mac};
use idgate::server::records::receipt::keys::Pair as Keys;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use sha2::Sha256;

use super::{Folder, client, eventually, get, get_as_operator};
use crate::support::{Pair, Reply, TestGateway, anybody};

const KEY: &str = "idg_synthetic-one";
const OTHER: &str = "idg_synthetic-two";

fn receipts(keys: &Keys) -> String {
    format!("[receipts]\nkey = {{ value = {:?} }}\n", keys.private.expose())
}

async fn ask(gateway: &TestGateway, pair: &Pair) -> Reply {
    let mut body = pair.body();
    body["reference"] = "payout-4711".into();
    gateway.post(body.to_string(), &[("authorization", &format!("Bearer {KEY}"))]).await
}

async fn fetch(gateway: &TestGateway, id: &Value) -> String {
    let url = format!("http://{}/v1/verifications/{}/receipt", gateway.public, id.as_str().unwrap());
    let response = gateway.http.get(url).bearer_auth(KEY).header("accept", "application/jose").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/jose".parse().unwrap())
    );
    response.text().await.unwrap()
}

async fn published(gateway: &TestGateway) -> JwkSet {
    let response = gateway.http.get(format!("http://{}/.well-known/jwks.json", gateway.public)).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (response.status().as_u16(), &*header("content-type"), &*header("cache-control")),
        (200, "application/jwk-set+json", "public, max-age=3600")
    );
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The claims, if a key of the set made the signature.
fn verified(jws: &str, set: &JwkSet) -> Option<Value> {
    let header = jsonwebtoken::decode_header(jws).ok()?;
    let key = DecodingKey::from_jwk(set.find(header.kid.as_deref()?)?).ok()?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    Some(jsonwebtoken::decode(jws, &key, &validation).ok()?.claims)
}

/// The digest of a person, computed as docs/receipts.md describes.
fn digest(claims: &Value, pair: &Pair) -> String {
    let hex = claims["subject"]["salt"].as_str().unwrap();
    let salt: Vec<_> = (0..32).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&salt).unwrap();
    mac.update(format!("{}\n{}", pair.id_number, pair.name).as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Status, code and reason of a refused receipt.
async fn refused(gateway: &TestGateway, id: &Value, key: &str) -> (u16, String, Value) {
    let reply = get(gateway, &format!("/v1/verifications/{}/receipt", id.as_str().unwrap()), key).await;
    (reply.status.as_u16(), reply.code().to_owned(), reply.body["errors"][0]["reason"].clone())
}

fn unavailable(reason: &str) -> (u16, String, Value) {
    (409, "receipt_unavailable".to_owned(), reason.into())
}

fn with_clients(folder: &Folder) -> crate::support::Builder {
    folder.gateway().chain(&["aliyun"]).over(client("one", KEY) + &client("two", OTHER))
}

#[tokio::test]
async fn a_receipt_says_what_was_answered_verifies_by_the_published_key_and_names_the_person_to_who_knows_them() {
    let (folder, keys) = (Folder::new(), Keys::new().unwrap());
    let gateway = with_clients(&folder).over(receipts(&keys)).start().await;
    let (pair, other) = (anybody(), anybody());
    let reply = ask(&gateway, &pair).await;
    let jws = fetch(&gateway, &reply.body["verification_id"]).await;
    let header = jsonwebtoken::decode_header(&jws).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::EdDSA, Some("idgate-receipt+jwt")));
    let set = published(&gateway).await;
    let claims = verified(&jws, &set).unwrap();
    assert_eq!(claims["jti"], reply.body["verification_id"]);
    assert_eq!(claims["verdict"], reply.body["verdict"]);
    for member in ["provider", "provider_request_id", "verified_at", "source"] {
        assert!(claims[member].is_string() && claims[member] == reply.body["provenance"][member], "{claims:#}");
    }
    assert_eq!([&claims["client"], &claims["purpose"], &claims["reference"]], ["one", "default", "payout-4711"]);
    let answered = claims["iat"].as_i64().unwrap();
    assert!((jiff::Timestamp::now().as_second() - answered).abs() < 600, "{answered}");
    assert_eq!(claims["subject"]["method"], "hmac-sha256/v1");
    assert_eq!(claims["subject"]["digest"], digest(&claims, &pair));
    assert_ne!(claims["subject"]["digest"], digest(&claims, &other));
    assert_ne!(claims["subject"]["digest"], digest(&claims, &Pair::new("李四", &pair.id_number)));
    // A cached answer has a receipt too, and nothing links the two receipts to the same person.
    let again = ask(&gateway, &pair).await;
    assert_eq!(again.source(), "cache");
    let path = format!("/v1/verifications/{}", again.body["verification_id"].as_str().unwrap());
    eventually("the remembered answer is written", async || get(&gateway, &path, KEY).await.status == 200).await;
    let second = verified(&fetch(&gateway, &again.body["verification_id"]).await, &set).unwrap();
    assert_eq!((&second["source"], &second["subject"]["digest"]), (&"cache".into(), &digest(&second, &pair).into()));
    assert_ne!(second["subject"]["digest"], claims["subject"]["digest"]);
    assert_ne!(second["subject"]["salt"], claims["subject"]["salt"]);
    // The receipt stays the same, also after a restart.
    assert_eq!(fetch(&gateway, &reply.body["verification_id"]).await, jws);
    assert!(gateway.stop().await);
    let gateway = with_clients(&folder).over(receipts(&keys)).start().await;
    assert_eq!(fetch(&gateway, &reply.body["verification_id"]).await, jws);
    let path = format!("/v1/verifications/{}/receipt", reply.body["verification_id"].as_str().unwrap());
    assert_eq!(gateway.admin_get(&path).await.1, jws, "operators have those of all clients");
    assert!(gateway.stop().await);
    // The disk contains neither the person nor a salt, and the receipt does not contain the person.
    let mut kept =
        jws.split('.').flat_map(|part| [part.as_bytes().to_vec(), base64_of(part)]).collect::<Vec<_>>().concat();
    let secrets = [&*pair.name, &pair.id_number, &pair.id_number[6..17]];
    let has = |bytes: &[u8], text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    assert!(secrets.iter().all(|text| !has(&kept, text)));
    kept.clear();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        kept.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(has(&kept, claims["subject"]["digest"].as_str().unwrap()));
    assert!(secrets.iter().chain([&claims["subject"]["salt"].as_str().unwrap()]).all(|text| !has(&kept, text)));
    folder.assert_sound().await;
}

fn base64_of(part: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
}

#[tokio::test]
async fn a_receipt_is_for_its_own_client_and_only_of_a_verdict_that_was_given_with_receipts_on() {
    let folder = Folder::new();
    let (file, keys) = (folder.path().join("idgate.toml"), Keys::new().unwrap());
    let gateway = with_clients(&folder).over("[reload]\npoll = \"0s\"").in_file(&file).start().await;
    let before = ask(&gateway, &anybody()).await.body["verification_id"].clone();
    assert_eq!(refused(&gateway, &before, KEY).await, unavailable("no_receipt_key"));
    assert!(published(&gateway).await.keys.is_empty());
    gateway.rewrite(|text| text + &receipts(&keys));
    assert_eq!(gateway.reload().await.body["changed"], serde_json::json!(["receipts"]));
    assert_eq!(refused(&gateway, &before, KEY).await, unavailable("answered_without_receipts"));
    let pair = anybody();
    let id = ask(&gateway, &pair).await.body["verification_id"].clone();
    let foreign = refused(&gateway, &id, OTHER).await;
    assert_eq!(foreign, (404, "not_found".to_owned(), "unknown_verification".into()));
    assert_eq!(foreign, refused(&gateway, &uuid::Uuid::now_v7().to_string().into(), OTHER).await);
    assert_eq!(refused(&gateway, &id, "idg_nobody").await.0, 401);
    assert_eq!(refused(&gateway, &"x".into(), KEY).await.0, 404);
    let url = format!("http://{}/v1/verifications/{}/receipt", gateway.public, id.as_str().unwrap());
    let html = gateway.http.get(&url).bearer_auth(KEY).header("accept", "application/json").send().await.unwrap();
    assert_eq!(Reply::of(html).await.code(), "not_acceptable");
    assert_eq!(
        Reply::of(gateway.http.post(&url).bearer_auth(KEY).send().await.unwrap()).await.header("allow"),
        "GET,HEAD"
    );
    // An invalid request has no verdict.
    assert_eq!(ask(&gateway, &Pair::new("张三", "110105194912310021")).await.code(), "invalid_id_number");
    let refusals = async || {
        let page = get_as_operator(&gateway, "/v1/verifications").await.body["verifications"].clone();
        page.as_array().unwrap().iter().find(|one| one["code"] == "invalid_id_number").cloned()
    };
    eventually("the refusal is written", async || refusals().await.is_some()).await;
    let refusal = refusals().await.unwrap()["verification_id"].clone();
    assert_eq!(refused(&gateway, &refusal, KEY).await, unavailable("no_verdict"));
    assert!(gateway.stop().await);
    // Another digest key gives other salts.
    let other = "[cache]\ndigest_key = { value = \"another-digest-key-0123456789abcdef-0123\" }";
    let gateway = with_clients(&folder).over(receipts(&keys)).over(other).start().await;
    assert_eq!(refused(&gateway, &id, KEY).await, unavailable("other_digest_key"));
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn receipts_of_a_former_key_verify_as_long_as_it_is_published() {
    let folder = Folder::new();
    let (file, [old, new]) = (folder.path().join("idgate.toml"), [Keys::new().unwrap(), Keys::new().unwrap()]);
    let public = folder.path().join("old.pub");
    std::fs::write(&public, &old.public).unwrap();
    let (first, by_hand) = (receipts(&old) + "kid = \"old\"\n", "[reload]\npoll = \"0s\"");
    let gateway = with_clients(&folder).over(first).over(by_hand).in_file(&file).start().await;
    let id = ask(&gateway, &anybody()).await.body["verification_id"].clone();
    let jws = fetch(&gateway, &id).await;
    let section = |text: String, section: &str| {
        let mut table: toml::Table = text.parse().unwrap();
        table.extend(section.parse::<toml::Table>().unwrap());
        table.to_string()
    };
    // An invalid configuration changes nothing.
    gateway.rewrite(|text| section(text, "[receipts]\nkey = { value = \"none\" }"));
    assert_eq!(gateway.reload().await.status.as_u16(), 422);
    assert_eq!(fetch(&gateway, &id).await, jws);
    let next =
        format!("{}former = [{{ public_key = {:?}, kid = \"old\" }}]", receipts(&new), public.display().to_string());
    gateway.rewrite(|text| section(text, &next));
    assert_eq!(gateway.reload().await.body["changed"], serde_json::json!(["receipts"]));
    let set = published(&gateway).await;
    let now = fetch(&gateway, &id).await;
    assert_ne!(now, jws);
    assert_eq!((set.keys.len(), verified(&jws, &set)), (2, verified(&now, &set)));
    assert!(verified(&jws, &set).is_some());
    gateway.rewrite(|text| section(text, &receipts(&new)));
    assert_eq!(gateway.reload().await.status.as_u16(), 200);
    assert!(verified(&jws, &published(&gateway).await).is_none());
    assert!(gateway.stop().await);
}

#[test]
fn receipts_want_a_ledger_and_keys_that_are_keys() {
    let told = |toml: &str| {
        let mistakes = idgate::app::config::Sources::text(toml).load().unwrap_err().0;
        mistakes.into_iter().map(|mistake| mistake.key).filter(|key| key.starts_with("receipts")).collect::<Vec<_>>()
    };
    assert_eq!(told(&receipts(&Keys::new().unwrap())), ["receipts.key"]);
    assert_eq!(told("[receipts]\nkey = { file = \"/nonexistent\" }\nkid = \"a\""), ["receipts.key"]);
    let former = "[receipts]\nformer = [{ public_key = \"/nonexistent\" }, { public_key = \"Cargo.toml\" }]";
    assert_eq!(told(former), ["receipts.former[0].public_key", "receipts.former[1].public_key"]);
    assert!(told("[receipts]\n").is_empty());
}
