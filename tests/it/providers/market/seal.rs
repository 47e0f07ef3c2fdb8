//! Requests as the drivers send them and the simulators accept them.

use idgate::providers::alibaba::schemes::ACCESS_KEY;
use idgate::providers::codec::form;

use super::*;

const NAME: &str = "买买提·艾合买提";
const NUMBER: &str = "11010519491231002X";

#[test]
fn a_request_is_read_back_as_it_was_asked() {
    let subject = subject(NAME, NUMBER);
    for name in BOTH {
        for driver in [sandboxed(name), with_app_key(name, "HmacSHA256"), with_app_key(name, "HmacSHA1")] {
            let request = request(&driver, &subject, &driver.credential);
            let (read, reply_to) = driver.service.decode_request(&request, &driver.credential, &stamp());
            assert_eq!(read.unwrap(), asked(NAME, NUMBER));
            assert_eq!(reply_to.asked, Some(asked(NAME, NUMBER)));
            assert_eq!(reply_to.host, "api.market.example");
            assert_eq!(reply_to.request_id, "5A0E6C0E-8B1F-4B7A-9D44-0F3C2F1D7E10");
        }
    }
}

#[test]
fn muzhiyun_asks_with_the_query() {
    let driver = sandboxed("muzhiyun");
    let request = request(&driver, &subject("李三", NUMBER), &driver.credential);
    assert_eq!(request.method(), "GET");
    assert_eq!(request.uri(), "https://api.market.example/idcard?xm=%E6%9D%8E%E4%B8%89&sfz=11010519491231002X");
    assert_eq!(request.headers()["accept"], "application/json");
    assert_eq!(request.headers()["authorization"], "APPCODE sandbox0muzhiyun0appcode00000001");
    assert!(request.headers()["authorization"].is_sensitive());
    assert!(request.body().is_empty());
}

#[test]
fn yunyi_asks_with_a_form() {
    let driver = with_app_key("yunyi", "HmacSHA256");
    let request = request(&driver, &subject("张三", NUMBER), &driver.credential);
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "https://api.market.example/idenAuthentication");
    assert_eq!(request.headers()["accept"], "application/json");
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(request.headers()["x-ca-key"], "203700001");
    assert_eq!(request.headers()["x-ca-timestamp"], "1714979289000");
    assert_eq!(request.headers()["x-ca-signature-headers"], "x-ca-key,x-ca-nonce,x-ca-signature-method,x-ca-timestamp");
    assert!(request.headers()["x-ca-signature"].is_sensitive());
    assert!(!request.headers().contains_key("authorization"));
    assert_eq!(&request.body()[..], b"idNo=11010519491231002X&name=%E5%BC%A0%E4%B8%89");
}

#[test]
fn no_secret_shows_in_the_debug_form_of_a_request() {
    for name in BOTH {
        for driver in [sandboxed(name), with_app_key(name, "HmacSHA1")] {
            let request = request(&driver, &subject(NAME, NUMBER), &driver.credential);
            let shown = format!("{:?} {driver:?}", request.headers());
            assert!(!shown.contains("appcode0") && !shown.contains("test-app-secret"), "{shown}");
        }
    }
}

#[test]
fn a_foreign_credential_signs_nothing() {
    let foreign = Credential::new(&ACCESS_KEY, "id", Secret::new("s"));
    let endpoint = Endpoint::parse("https://api.market.example").unwrap();
    for name in BOTH {
        let driver = sandboxed(name);
        assert!(
            driver.protocol.encode_request((&subject(NAME, NUMBER)).into(), &endpoint, &foreign, &stamp()).is_err()
        );
    }
}

#[test]
fn the_simulator_refuses_as_the_gateway_does() {
    for name in BOTH {
        let app_code = sandboxed(name);
        let subject = subject(NAME, NUMBER);
        let with = |change: &dyn Fn(&mut Request<Bytes>)| {
            let mut request = request(&app_code, &subject, &app_code.credential);
            change(&mut request);
            refused_with(&app_code, &request, NOW)
        };
        let authorization = |value: &'static str| {
            with(&|request| drop(request.headers_mut().insert("authorization", value.try_into().unwrap())))
        };
        assert_eq!(with(&|request| *request.uri_mut() = "/idcards".parse().unwrap()), "I404NF");
        assert_eq!(with(&|request| *request.method_mut() = http::Method::PUT), "I405UM");
        assert_eq!(with(&|request| drop(request.headers_mut().remove("authorization"))), "A400MA");
        assert_eq!(authorization("Bearer x"), "A400MA");
        assert_eq!(authorization("APPCODE "), "A400AC");
        assert_eq!(authorization("APPCODE  sandbox0muzhiyun0appcode00000001"), "A400AC");
        assert_eq!(authorization("APPCODE sandbox0muzhiyun0appcode00000002"), "A400AC");

        let app_key = with_app_key(name, "HmacSHA256");
        let signed = request(&app_key, &subject, &app_key.credential);
        assert_eq!(refused_with(&app_code, &signed, NOW), "A400IK");
        assert_eq!(refused_with(&app_key, &signed, "2024-05-06T07:24:00Z"), "Timestamp Expired");
        let mut renamed = signed.clone();
        renamed.headers_mut().insert("x-ca-key", "203700002".try_into().unwrap());
        assert_eq!(refused_with(&app_key, &renamed, NOW), "A400IK");
        let mut asks_for_another = signed.clone();
        match name {
            "muzhiyun" => *asks_for_another.uri_mut() = "/idcard?xm=x&sfz=y".parse().unwrap(),
            _ => *asks_for_another.body_mut() = Bytes::from_static(b"idNo=y&name=x"),
        }
        assert_eq!(refused_with(&app_key, &asks_for_another, NOW), "A403IS");
    }
}

#[test]
fn the_simulator_refuses_what_is_empty_or_malformed_in_the_words_of_the_provider() {
    let long = "张".repeat(51);
    for (name, number, muzhiyun, yunyi) in [
        ("", NUMBER, "未传入真实姓名xm", "0001"),
        ("张三", "", "未传入身份证号码sfz", "0003"),
        (&long, NUMBER, "传入真实姓名xm字符串长度超限", ""),
        ("张三", "1101051949123100200", "传入身份证号码sfz字符串长度超限", "0004"),
        ("张@三", NUMBER, "姓名有误", "0002"),
        ("张三", "110105194912310021", "身份证号码有误", "0004"),
        ("张三", "11010519491231", "身份证号码有误", "0004"),
        ("张三", "X1010519491231002X", "身份证号码有误", "0004"),
    ] {
        for (driver, expected, pairs) in [
            ("muzhiyun", muzhiyun, [("xm", name), ("sfz", number)]),
            ("yunyi", yunyi, [("name", name), ("idNo", number)]),
        ] {
            let pairs = form::encode_pairs(pairs);
            let configured = sandboxed(driver);
            let mut request = request(&configured, &subject("张三", NUMBER), &configured.credential);
            match driver {
                "muzhiyun" => *request.uri_mut() = format!("/idcard?{pairs}").parse().unwrap(),
                _ => *request.body_mut() = pairs.into(),
            }
            if !expected.is_empty() {
                assert_eq!(refused_with(&configured, &request, NOW), expected, "{driver} {name} {number}");
            }
        }
    }
}
