//! The RPC drivers against external bytes: the vendor's signatures, the requests of its real clients, and responses
//! from the documentation, from recordings and made up.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use idgate::domain::outcome::{Fault, Outcome};
use idgate::domain::personal::Secret;
use idgate::domain::verdict::Verdict;
use idgate::providers::alibaba::rpc::XML;
use idgate::providers::alibaba::schemes::{ACCESS_KEY, APP_CODE};
use idgate::providers::alibaba::{acs3, rpc_v1};
use idgate::providers::{Code, Credential, Driver, Endpoint, Refusal, ReplyTo, driver};
use serde::Deserialize;

use super::{Made, configured, fixture, stamp, subject};

/// The host in the transcripts is `127.0.0.1:PORT`, and V3 signs it. This is the signed port: of all 65,535 it is the
/// only one for which any of the eleven recorded V3 signatures is valid, and all eleven are.
const RECORDED_PORT: &str = "41139";

const NUMBER: &str = "110101190001010014";
const HOST: &str = "cloudauth.aliyuncs.com";

#[derive(Deserialize)]
struct Vectors {
    v1_hmac_sha1: Vec<VectorV1>,
    v3_acs3_hmac_sha256: Vec<VectorV3>,
}

#[derive(Deserialize)]
struct VectorV1 {
    id: String,
    http_method: String,
    access_key_secret: String,
    params: BTreeMap<String, String>,
    string_to_sign: String,
    signature: String,
}

#[derive(Deserialize)]
struct VectorV3 {
    id: String,
    http_method: String,
    canonical_uri: String,
    query: BTreeMap<String, String>,
    body: String,
    headers: BTreeMap<String, String>,
    access_key_id: String,
    access_key_secret: String,
    signed_headers: String,
    canonical_request: String,
    string_to_sign: String,
    signature: String,
    authorization: String,
    #[serde(default)]
    other_header_set: BTreeMap<String, String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(&fixture("vectors/signatures.json")).unwrap()
}

#[test]
fn v1_signs_as_the_vendors_packages_do() {
    let vectors = vectors().v1_hmac_sha1;
    assert!(vectors.len() >= 12);
    for vector in vectors {
        // Unsorted, because the order must not matter.
        let mut pairs: Vec<_> =
            vector.params.iter().rev().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let secret = Secret::new(vector.access_key_secret);
        assert_eq!(rpc_v1::string_to_sign(&vector.http_method, &pairs), vector.string_to_sign, "{}", vector.id);
        assert_eq!(rpc_v1::sign(&vector.http_method, &pairs, &secret), vector.signature, "{}", vector.id);
        let now = vector.params["Timestamp"].parse().unwrap();
        pairs.insert(3, ("Signature", &vector.signature));
        assert_eq!(rpc_v1::verify(&vector.http_method, &pairs, &secret, now), Ok(()), "{}", vector.id);
    }
}

#[test]
fn v3_signs_as_the_vendors_packages_do() {
    let vectors = vectors().v3_acs3_hmac_sha256;
    assert!(vectors.len() >= 9);
    for vector in vectors {
        let id = &vector.id;
        let secret = Secret::new(vector.access_key_secret.as_str());
        let key = Credential::new(&ACCESS_KEY, vector.access_key_id.as_str(), secret);
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&vector.query).finish();
        let mut request = Request::builder()
            .method(vector.http_method.as_str())
            .uri(format!("https://{}{}?{query}", vector.headers["host"], vector.canonical_uri))
            .body(Bytes::from(vector.body))
            .unwrap();
        for (name, value) in &vector.headers {
            request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let canonical = acs3::canonical_request(&request, &vector.signed_headers).unwrap();
        assert_eq!(canonical, vector.canonical_request, "{id}");
        assert_eq!(acs3::string_to_sign(&canonical), vector.string_to_sign, "{id}");
        assert_eq!(acs3::signature(&canonical, &key), vector.signature, "{id}");

        // We sign the required headers, as the Node packages do.
        let required = vector.other_header_set.values().next().unwrap_or(&vector.authorization);
        let mut ours = request.clone();
        acs3::sign(&mut ours, &key).unwrap();
        assert_eq!(ours.headers()["authorization"], required, "{id}");

        let now = vector.headers["x-acs-date"].parse().unwrap();
        for authorization in vector.other_header_set.values().chain([&vector.authorization]) {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
            let presented = acs3::Authorization::read(request.headers()).unwrap();
            assert_eq!(presented.key_id, vector.access_key_id, "{id}");
            assert_eq!(acs3::verify(&request, presented, &key, now), Ok(()), "{id}");
        }
    }
}

/// The requests of a transcript as received, with chunked bodies joined.
fn recorded(file: &str) -> Vec<Request<Bytes>> {
    let text = fixture(&format!("transcripts/{file}")).replace("\r\n", "\n").replace("PORT", RECORDED_PORT);
    text.split("\n--- request ")
        .skip(1)
        .map(|section| {
            let (_, raw) = section.split_once('\n').unwrap();
            let (head, rest) = raw.split_once("\n\n").unwrap();
            let mut lines = head.lines();
            let [method, target, _] = lines.next().unwrap().split(' ').collect::<Vec<_>>().try_into().unwrap();
            let mut request = Request::builder().method(method).uri(target).body(Bytes::new()).unwrap();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                request
                    .headers_mut()
                    .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            }
            let length = |header: &HeaderValue| header.to_str().unwrap().parse().unwrap();
            let body = if request.headers().contains_key("transfer-encoding") {
                let (size, rest) = rest.split_once('\n').unwrap();
                &rest[..usize::from_str_radix(size, 16).unwrap()]
            } else {
                &rest[..request.headers().get("content-length").map_or(0, length)]
            };
            *request.body_mut() = Bytes::copy_from_slice(body.as_bytes());
            request
        })
        .collect()
}

fn credential(token: Option<&str>) -> Credential {
    Credential::new(&ACCESS_KEY, "testAccessKeyId", Secret::new("testAccessKeySecret"))
        .with_token(token.map(Secret::new))
}

fn setup(name: &str, scheme: &str) -> (&'static Driver, Made) {
    let driver = driver(name).unwrap();
    let settings = [driver.sample(), &[("signature", scheme)]].concat();
    (driver, configured(driver, &settings).unwrap())
}

fn value_of<'r>(request: &'r Request<Bytes>, header: &str, parameter: &str) -> Option<std::borrow::Cow<'r, str>> {
    let pairs = || {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        form_urlencoded::parse(query).chain(form_urlencoded::parse(request.body()))
    };
    let header = request.headers().get(header).map(|value| value.to_str().unwrap().into());
    header.or_else(|| pairs().find(|(name, _)| name == parameter).map(|(_, value)| value))
}

#[test]
fn what_the_vendors_clients_send_is_understood_and_its_signature_is_right() {
    let mut seen = 0;
    for (file, requests) in [
        ("python-sdk-current.txt", 8),
        ("python-sdk-2.1.0-as-in-seed.txt", 3),
        ("python-sdk-v1-core.txt", 3),
        ("node-sdk-current.txt", 5),
        ("node-pop-core.txt", 3),
    ] {
        let recorded = recorded(file);
        assert_eq!(recorded.len(), requests, "{file}");
        for request in recorded {
            let intl = value_of(&request, "x-acs-action", "Action").unwrap() == "Id2MetaVerifyIntl";
            let (_, setup) = setup(if intl { "aliyun_intl" } else { "aliyun" }, "v3");
            let at = value_of(&request, "x-acs-date", "Timestamp").unwrap();
            let keys = credential(value_of(&request, "x-acs-security-token", "SecurityToken").as_deref());
            let (asked, reply_to) = setup.service.decode_request(&request, &keys, &stamp(&at));
            let asked = asked.unwrap_or_else(|refusal| panic!("{file}: {} for {}", refusal.code.code, request.uri()));

            let expected: BTreeMap<_, _> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .chain(form_urlencoded::parse(request.body()))
                .collect();
            assert_eq!(asked.name.expose(), expected["UserName"]);
            assert_eq!(asked.id_number.expose(), expected["IdentifyNum"]);
            assert!(["张三", "买买提·艾合买提", "a b*c~d+e"].contains(&asked.name.expose()));
            assert_eq!(reply_to.host, format!("127.0.0.1:{RECORDED_PORT}"));
            assert!(reply_to.media_type.is_none() && reply_to.asked == Some(asked));

            // The same request with another secret, another token, or a wrong clock.
            let thief = keys.clone().with_secret(Secret::new("guessed"));
            assert_eq!(refused(&setup, &request, &thief, &at), "SignatureDoesNotMatch");
            let known = if keys_token(&keys).is_some() { None } else { Some("CAIS") };
            let expected =
                if known.is_some() { "MissingSecurityToken" } else { "InvalidSecurityToken.MismatchWithAccessKey" };
            assert_eq!(refused(&setup, &request, &credential(known), &at), expected);
            assert_eq!(refused(&setup, &request, &keys, "2026-11-22T02:38:00Z"), "InvalidTimeStamp.Expired");
            seen += 1;
        }
    }
    assert_eq!(seen, 22);
}

#[test]
fn the_recorded_port_is_the_one_that_was_signed() {
    let (_, setup) = setup("aliyun", "v3");
    let mut request = recorded("python-sdk-current.txt").remove(0);
    request.headers_mut().insert("host", "127.0.0.1:41140".parse().unwrap());
    assert_eq!(refused(&setup, &request, &credential(None), "2026-11-22T02:22:41Z"), "SignatureDoesNotMatch");
}

fn keys_token(credential: &Credential) -> Option<&Secret> {
    credential.token()
}

fn refused(setup: &Made, request: &Request<Bytes>, keys: &Credential, now: &str) -> &'static str {
    match setup.service.decode_request(request, keys, &stamp(now)).0 {
        Ok(_) => "served",
        Err(refusal) => refusal.code.code,
    }
}

const NOW: &str = "2026-11-22T08:00:00Z";

/// A V1 request with these parameters, signed as given.
fn signed_v1(method: Method, parameters: &[(&str, &str)]) -> Request<Bytes> {
    let signature = rpc_v1::sign(method.as_str(), parameters, &Secret::new("testAccessKeySecret"));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters).append_pair("Signature", &signature);
    Request::builder()
        .method(method)
        .uri(format!("/?{}", query.finish()))
        .header("host", HOST)
        .body(Bytes::new())
        .unwrap()
}

/// The parameters of a valid V1 request with some replaced; an empty value removes one.
fn v1_with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut parameters = vec![
        ("Action", "Id2MetaVerify"),
        ("Version", "2019-03-07"),
        ("Format", "JSON"),
        ("AccessKeyId", "testAccessKeyId"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", "n"),
        ("Timestamp", NOW),
        ("ParamType", "normal"),
        ("IdentifyNum", NUMBER),
        ("UserName", "张三"),
    ];
    for (name, value) in changes {
        parameters.retain(|(known, _)| known != name);
        parameters.extend(Some((*name, *value)).filter(|(_, value)| !value.is_empty()));
    }
    parameters
}

#[test]
fn a_v1_request_is_refused_with_the_code_of_the_first_check_that_fails() {
    let (_, setup) = setup("aliyun", "v1");
    for (changes, expected) in [
        (&[][..], "served"),
        (&[("Action", "")], "MissingAction"),
        (&[("Action", "id2MetaVerify")], "InvalidAction.NotFound"),
        (&[("Action", "Id2MetaVerifyIntl")], "InvalidAction.NotFound"),
        (&[("Version", "")], "MissingVersion"),
        (&[("Version", "2022-08-09")], "InvalidVersion"),
        (&[("AccessKeyId", "")], "MissingAccessKeyId"),
        (&[("Timestamp", "")], "MissingTimestamp"),
        (&[("SignatureNonce", "")], "MissingSignatureNonce"),
        (&[("SignatureMethod", "")], "MissingSignatureMethod"),
        (&[("SignatureMethod", "HMAC-MD5")], "InvalidSignatureMethod"),
        (&[("SignatureVersion", "2.0")], "InvalidSignatureVersion"),
        (&[("AccessKeyId", "nobody")], "InvalidAccessKeyId.NotFound"),
        (&[("AccessKeyId", "nobody"), ("Timestamp", "noon")], "InvalidAccessKeyId.NotFound"),
        (&[("Timestamp", "noon")], "InvalidTimeStamp.Format"),
        (&[("Timestamp", "2026-11-22T07:44:59Z")], "InvalidTimeStamp.Expired"),
        (&[("SecurityToken", "stolen")], "InvalidSecurityToken.MismatchWithAccessKey"),
        (&[("UserName", "")], "400"),
        (&[("IdentifyNum", "")], "400"),
        (&[("ParamType", "")], "400"),
        (&[("ParamType", "md5")], "401"),
        (&[("Extra", "1")], "served"),
    ] {
        let request = signed_v1(Method::GET, &v1_with(changes));
        assert_eq!(refused(&setup, &request, &credential(None), NOW), expected, "{changes:?}");
    }
    let mut twice = v1_with(&[]);
    twice.push(("IdentifyNum", "11010119000102001X"));
    assert_eq!(refused(&setup, &signed_v1(Method::POST, &twice), &credential(None), NOW), "401");
    let put = signed_v1(Method::PUT, &v1_with(&[]));
    assert_eq!(refused(&setup, &put, &credential(None), NOW), "UnsupportedHTTPMethod");
    let mut elsewhere = signed_v1(Method::GET, &v1_with(&[]));
    *elsewhere.uri_mut() = "/x?Action=Id2MetaVerify".parse().unwrap();
    assert_eq!(refused(&setup, &elsewhere, &credential(None), NOW), "InvalidAction.NotFound");
    let unsigned = Request::get("/?Action=Id2MetaVerify&Version=2019-03-07&AccessKeyId=x&Timestamp=x&SignatureNonce=x");
    let unsigned = unsigned.body(Bytes::new()).unwrap();
    assert_eq!(refused(&setup, &unsigned, &credential(None), NOW), "MissingSignature");
}

#[test]
fn a_v3_request_is_refused_with_the_code_of_the_first_check_that_fails() {
    let (_, setup) = setup("aliyun", "v3");
    let endpoint = Endpoint::parse("https://cloudauth.aliyuncs.com").unwrap();
    let subject = subject("张三", NUMBER);
    let good = setup.protocol.encode_request((&subject).into(), &endpoint, &credential(None), &stamp(NOW)).unwrap();
    let resigned = |name: &'static str, value: &'static str| {
        let mut request = good.clone();
        request.headers_mut().remove("authorization");
        if value.is_empty() {
            request.headers_mut().remove(name);
        } else {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        acs3::sign(&mut request, &credential(None)).unwrap();
        request
    };
    for (name, value, expected) in [
        ("x-acs-extra", "1", "served"),
        ("x-acs-action", "", "MissingAction"),
        ("x-acs-action", "id2MetaVerify", "InvalidAction.NotFound"),
        ("x-acs-version", "", "MissingVersion"),
        ("x-acs-version", "2022-08-09", "InvalidVersion"),
        ("x-acs-date", "", "IncompleteSignature"),
        ("x-acs-date", "noon", "InvalidTimeStamp.Format"),
        ("x-acs-date", "2026-11-22T08:15:01Z", "InvalidTimeStamp.Expired"),
        ("x-acs-signature-nonce", "", "IncompleteSignature"),
        ("x-acs-security-token", "stolen", "InvalidSecurityToken.MismatchWithAccessKey"),
        ("content-type", "application/json", "400"),
    ] {
        assert_eq!(refused(&setup, &resigned(name, value), &credential(None), NOW), expected, "{name}: {value}");
    }
    let altered = |name: &'static str, value: &str, expected: &str| {
        let mut request = good.clone();
        request.headers_mut().append(name, value.parse().unwrap());
        assert_eq!(refused(&setup, &request, &credential(None), NOW), expected, "{name}: {value}");
    };
    altered("x-acs-unsigned", "1", "IncompleteSignature");
    altered("x-acs-date", NOW, "IncompleteSignature");
    altered("host", HOST, "IncompleteSignature");
    altered("authorization", "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b,Signature=c", "IncompleteSignature");
    altered("accept-language", "zh", "served");
    for (authorization, expected) in [
        ("ACS3-HMAC-SM3 Credential=a,SignedHeaders=host,Signature=0", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 nonsense", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=nobody,SignedHeaders=host,Signature=0", "InvalidAccessKeyId.NotFound"),
        ("ACS3-HMAC-SHA256 Credential=testAccessKeyId,SignedHeaders=,Signature=", "IncompleteSignature"),
        ("APPCODE x", "MissingAction"),
    ] {
        let mut request = good.clone();
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        assert_eq!(refused(&setup, &request, &credential(None), NOW), expected, "{authorization}");
    }
}

#[test]
fn the_international_action_refuses_in_its_own_words() {
    let (_, setup) = setup("aliyun_intl", "v1");
    let intl = [("Action", "Id2MetaVerifyIntl"), ("Version", "2022-08-09"), ("ProductCode", "ID_2META")];
    for (change, expected) in [
        (("Format", "json"), "served"),
        (("ProductCode", ""), "MissingParameter"),
        (("ProductCode", "ID_PRO"), "InvalidParameter"),
        (("ParamType", "md5"), "InvalidParameter"),
        (("UserName", ""), "MissingParameter"),
    ] {
        let request = signed_v1(Method::POST, &v1_with(&[&intl[..], &[change]].concat()));
        assert_eq!(refused(&setup, &request, &credential(None), NOW), expected, "{change:?}");
    }
}

fn reply_to(is_xml: bool) -> ReplyTo {
    let request_id = "130A2C10-B9EE-4D84-88E3-5384FF039795".to_owned();
    ReplyTo { request_id, host: HOST.to_owned(), media_type: is_xml.then_some(XML), ..ReplyTo::default() }
}

fn row(driver: &Driver, code: &str) -> &'static Code {
    driver.all_codes().find(|row| row.code == code).unwrap()
}

#[test]
fn answers_have_the_shape_that_was_recorded() {
    let id = "130A2C10-B9EE-4D84-88E3-5384FF039795";
    let refuse = |name: &str, code: &str| Err(Refusal { code: row(driver(name).unwrap(), code), retry_after: None });
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    for (name, answer, as_xml, status, body) in [
        (
            "aliyun",
            Ok(Verdict::Match),
            false,
            200,
            format!(r#"{{"Message":"success","RequestId":"{id}","Code":"200","ResultObject":{{"BizCode":"1"}}}}"#),
        ),
        (
            "aliyun_intl",
            Ok(Verdict::NoRecord),
            false,
            200,
            format!(r#"{{"Message":"success","RequestId":"{id}","Code":"Success","Result":{{"BizCode":"3"}}}}"#),
        ),
        (
            "aliyun",
            refuse("aliyun", "403"),
            false,
            200,
            format!(r#"{{"Message":"异常重复调用","RequestId":"{id}","Code":"403"}}"#),
        ),
        (
            "aliyun",
            refuse("aliyun", "Throttling.User"),
            false,
            400,
            format!(
                r#"{{"RequestId":"{id}","HostId":"{HOST}","Code":"Throttling.User","Message":"Request was denied due to user flow control.","Recommend":"https://api.aliyun.com/troubleshoot?q=Throttling.User&product=Cloudauth"}}"#
            ),
        ),
        (
            "aliyun_intl",
            refuse("aliyun_intl", "InvalidParameter"),
            false,
            401,
            format!(
                r#"{{"RequestId":"{id}","HostId":"{HOST}","Code":"InvalidParameter","Message":"Invalid parameter.","Recommend":"https://api.alibabacloud.com/troubleshoot?q=InvalidParameter&product=Cloudauth-intl"}}"#
            ),
        ),
        (
            "aliyun",
            refuse("aliyun", "InvalidTimeStamp.Expired"),
            true,
            400,
            format!(
                "{xml}<Error><RequestId>{id}</RequestId><HostId>{HOST}</HostId><Code>InvalidTimeStamp.Expired</Code><Message>Specified time stamp or date value is expired.</Message></Error>"
            ),
        ),
        (
            "aliyun",
            Ok(Verdict::Mismatch),
            true,
            200,
            format!(
                "{xml}<Id2MetaVerifyResponse><Message>success</Message><RequestId>{id}</RequestId><Code>200</Code><ResultObject><BizCode>2</BizCode></ResultObject></Id2MetaVerifyResponse>"
            ),
        ),
    ] {
        let response = setup(name, "v1").1.service.encode_response(answer, &reply_to(as_xml));
        assert_eq!(response.body(), &Bytes::from(body));
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["x-acs-request-id"], id);
        let kind = if as_xml { "text/xml;charset=utf-8" } else { "application/json;charset=utf-8" };
        assert_eq!(response.headers()["content-type"], kind);
    }
}

#[test]
fn only_a_v1_caller_that_does_not_ask_for_json_gets_xml() {
    let (_, setup) = setup("aliyun", "v1");
    for (format, xml) in [("JSON", false), ("json", false), ("XML", true), ("xml", true), ("", true)] {
        let request = signed_v1(Method::GET, &v1_with(&[("Format", format)]));
        let (asked, reply_to) = setup.service.decode_request(&request, &credential(None), &stamp(NOW));
        assert!(asked.is_ok());
        assert_eq!(reply_to.media_type == Some(XML), xml, "{format}");
        assert_eq!(reply_to.request_id, "0B6D5F5E-8C0E-4D0C-9A53-3B1E6D2F7A10");
    }
}

#[test]
fn a_pause_that_is_asked_for_arrives() {
    let (driver, setup) = setup("aliyun", "v3");
    let pause = std::time::Duration::from_millis(700);
    let refusal = Refusal { code: row(driver, "Throttling.Api"), retry_after: Some(pause) };
    let response = setup.service.encode_response(Err(refusal), &reply_to(false));
    assert_eq!(response.headers()["x-acs-retry-after"], "700");
    let fault = setup.protocol.decode_response((&subject("张三", NUMBER)).into(), &response).unwrap_err();
    assert_eq!((fault.outcome, fault.retry_after), (Outcome::RateLimited, Some(pause)));
}

/// A response of `tests/fixtures/<driver>/answers.json`, and its meaning.
#[derive(Deserialize)]
struct Answer {
    why: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    means: String,
    code: Option<String>,
    billed: Option<String>,
    retry_after_ms: Option<u64>,
    request_id: Option<String>,
}

#[test]
fn every_answer_in_the_fixtures_means_what_they_say() {
    for name in ["aliyun", "aliyun_intl"] {
        let answers: Vec<Answer> = serde_json::from_str(&fixture(&format!("{name}/answers.json"))).unwrap();
        assert!(answers.len() > 20);
        let (_, setup) = setup(name, "v3");
        for answer in answers {
            let mut response = Response::builder().status(answer.status);
            for (header, value) in &answer.headers {
                response = response.header(header, value);
            }
            let response = response.body(Bytes::from(answer.body)).unwrap();
            let why = format!("{name}: {}", answer.why);
            let (means, request_id, fault) =
                match setup.protocol.decode_response((&subject("张三", NUMBER)).into(), &response) {
                    Ok(finding) => (finding.verdict.as_str().to_owned(), finding.request_id, None),
                    Err(fault) => {
                        let Fault { outcome, reason, .. } = fault;
                        (format!("{}/{}", outcome.as_str(), reason.as_str()), fault.request_id.clone(), Some(fault))
                    }
                };
            assert_eq!(means, answer.means, "{why}");
            // One that could hold a person has no text before it is sealed.
            let shown = request_id.as_ref().map(|id| id.as_str()).filter(|id| !id.is_empty());
            assert_eq!(shown, answer.request_id.as_deref(), "{why}");
            let fault = fault.as_ref();
            assert_eq!(fault.and_then(|fault| fault.code), answer.code.as_deref(), "{why}");
            assert_eq!(
                fault.and_then(|fault| fault.retry_after).map(|it| it.as_millis() as u64),
                answer.retry_after_ms,
                "{why}"
            );
            if let Some(billed) = answer.billed {
                assert_eq!(fault.map(|fault| fault.billed.as_str()), Some(billed.as_str()), "{why}");
            }
        }
    }
}

#[test]
fn a_credential_that_cannot_sign_makes_no_request() {
    let (_, setup) = setup("aliyun", "v3");
    let endpoint = Endpoint::parse("https://cloudauth.aliyuncs.com").unwrap();
    let app_code = Credential::bearer(&APP_CODE, Secret::new("0123"));
    assert!(
        setup.protocol.encode_request((&subject("张三", NUMBER)).into(), &endpoint, &app_code, &stamp(NOW)).is_err()
    );
}

#[test]
fn every_mistake_in_the_settings_is_told_at_once() {
    let driver = driver("aliyun").unwrap();
    let mut settings = idgate::providers::Settings::default();
    settings.secret.insert("access_key_secret".to_owned(), Secret::new("secret\n"));
    settings.secret.insert("app_code".to_owned(), Secret::new("x"));
    settings.plain.insert("signature".to_owned(), "v2".to_owned());
    settings.plain.insert("region".to_owned(), "cn-shanghai".to_owned());
    let mistakes = (driver.configure)(&settings).unwrap_err();
    let keys: Vec<_> = mistakes.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["access_key_id", "access_key_secret", "signature", "driver", "driver"]);
    assert!(mistakes.iter().all(|(_, what)| !what.contains("secret\n")));
}

#[test]
fn a_name_is_in_the_url_only_where_nothing_else_is_documented() {
    let endpoint = Endpoint::parse("https://cloudauth.aliyuncs.com").unwrap();
    for (name, scheme, in_url) in [("aliyun", "v1", false), ("aliyun", "v3", false), ("aliyun_intl", "v3", true)] {
        let (_, setup) = setup(name, scheme);
        let subject = subject("张三", NUMBER);
        let request =
            setup.protocol.encode_request((&subject).into(), &endpoint, &credential(None), &stamp(NOW)).unwrap();
        assert_eq!(request.uri().to_string().contains(NUMBER), in_url, "{name} {scheme}");
        assert_eq!(request.body().is_empty(), in_url, "{name} {scheme}");
        assert!(!format!("{:?}", request.headers()).contains("Signature="), "{name} {scheme}");
    }
}
