//! Properties that every driver's codec must have: each side decodes what the other encodes, a changed signed request
//! is detected, and only the documented field yields a verdict.
//!
//! A new driver needs only its fixtures: `verdict.json`, which `reference.rs` reads independently of the driver, and
//! `dialect.json`.

mod mutation;
mod reference;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use idgate::domain::outcome::{Outcome, Reason};
use idgate::domain::personal::Secret;
use idgate::domain::subject::Subject;
use idgate::domain::verdict::Verdict;
use idgate::providers::{DRIVERS, Driver, Endpoint, Refusal, ReplyTo};
use jiff::SignedDuration;

use super::{Made, configured, fixture, stamp, subject};
use reference::Reference;

const NOW: &str = "2026-11-22T08:00:00Z";

/// A driver with one way of signing.
struct Setup {
    driver: &'static Driver,
    label: String,
    made: Made,
}

/// Every driver with every way of signing that it accepts.
fn setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    for driver in DRIVERS.iter().filter(|driver| driver.dialect.is_some()) {
        assert!(!driver.samples.is_empty(), "{} has no sample", driver.name);
        for settings in driver.samples {
            let label = format!("{} {:?}", driver.name, settings.iter().map(|(key, _)| key).collect::<Vec<_>>());
            let made = configured(driver, settings).unwrap_or_else(|| panic!("{label} is not taken"));
            setups.push(Setup { driver, label, made });
        }
    }
    setups
}

impl Setup {
    fn request(&self, subject: &Subject) -> Request<Bytes> {
        let endpoint = Endpoint::parse("https://upstream.example:8443").unwrap();
        let request = self.made.protocol.encode_request(subject.into(), &endpoint, &self.made.credential, &stamp(NOW));
        arrived(request.unwrap())
    }

    /// The properties of the request that shape a genuine response.
    fn reply_to(&self, subject: &Subject) -> ReplyTo {
        self.made.service.decode_request(&self.request(subject), &self.made.credential, &stamp(NOW)).1
    }

    fn is_signed(&self) -> bool {
        !self.made.credential.scheme().is_bearer
    }
}

/// A request as the server receives it: the authority moves from the target to `Host`.
fn arrived(mut request: Request<Bytes>) -> Request<Bytes> {
    let uri = request.uri().clone();
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", uri.authority().unwrap().as_str().parse().unwrap());
    }
    *request.uri_mut() = Uri::from(uri.path_and_query().unwrap().clone());
    request
}

fn subjects() -> Vec<Subject> {
    let names = ["张三", "买买提·艾合买提", "𠮷三", "赵C", "李\u{e863}"];
    let numbers = ["110101190001010014", "11010119000102001X", "110105491231002", "810000199408230021"];
    names.iter().zip(numbers.iter().cycle()).map(|(name, number)| subject(name, number)).collect()
}

#[test]
fn a_request_decodes_to_what_was_asked() {
    for setup in setups() {
        for subject in subjects() {
            let request = setup.request(&subject);
            let (asked, reply_to) = setup.made.service.decode_request(&request, &setup.made.credential, &stamp(NOW));
            let asked = asked.unwrap_or_else(|refusal| panic!("{}: {}", setup.label, refusal.code.code));
            assert_eq!(asked.name.expose(), subject.name(), "{}", setup.label);
            assert_eq!(asked.id_number.expose(), subject.id_number(), "{}", setup.label);
            assert_eq!(reply_to.host, "upstream.example:8443", "{}", setup.label);
            assert_eq!(reply_to.media_type, None, "{}", setup.label);
        }
    }
}

#[test]
fn a_verdict_decodes_to_itself() {
    for setup in setups() {
        for subject in subjects() {
            let reply_to = setup.reply_to(&subject);
            for verdict in Verdict::ALL {
                let response = setup.made.service.encode_response(Ok(verdict), &reply_to);
                let finding = setup.made.protocol.decode_response((&subject).into(), &response);
                let finding = finding.unwrap_or_else(|fault| panic!("{}: {verdict:?}: {fault:?}", setup.label));
                assert_eq!(finding.verdict, verdict, "{}", setup.label);
                assert_eq!(finding.request_id.unwrap().as_str(), reply_to.request_id, "{}", setup.label);
                assert_eq!(Reference::of(setup.driver.name).verdict(&response), Some(verdict), "{}", setup.label);
            }
        }
    }
}

#[test]
fn every_documented_code_decodes_to_the_fault_of_its_row() {
    for setup in setups() {
        let subject = &subjects()[0];
        let reply_to = setup.reply_to(subject);
        assert!(setup.driver.all_codes().count() > 10, "{}", setup.label);
        for row in setup.driver.all_codes() {
            let response = setup.made.service.encode_response(Err(Refusal { code: row, retry_after: None }), &reply_to);
            let fault = setup.made.protocol.decode_response(subject.into(), &response).unwrap_err();
            let expected = row.fault();
            let what = format!("{}: {} {}", setup.label, row.code, row.message);
            assert_eq!((fault.outcome, fault.reason), (expected.outcome, expected.reason), "{what}");
            assert_eq!((fault.billed, fault.code), (expected.billed, expected.code), "{what}");
            assert!(fault.outcome != Outcome::Verdict && !fault.outcome.is_skip(), "{what}");
            assert!((100..1000).contains(&row.status) && !row.message.is_empty(), "{what}");
        }
    }
}

#[test]
fn another_secret_is_refused() {
    for setup in setups() {
        let request = setup.request(&subjects()[0]);
        let stranger = setup.made.credential.clone().with_secret(Secret::new("somebodyElse"));
        let refusal = setup.made.service.decode_request(&request, &stranger, &stamp(NOW)).0.unwrap_err();
        assert_eq!(refusal.code.outcome, Outcome::AccountFault, "{}", setup.label);
    }
}

#[test]
fn a_clock_that_is_off_by_more_than_the_window_is_refused() {
    for setup in setups().into_iter().filter(Setup::is_signed) {
        let request = setup.request(&subjects()[0]);
        let window = setup.driver.dialect.as_ref().unwrap().clock_window.as_secs();
        for seconds in [-window - 1, -window, 0, window, window + 1] {
            let mut then = stamp(NOW);
            then.now += SignedDuration::from_secs(seconds);
            match setup.made.service.decode_request(&request, &setup.made.credential, &then).0 {
                Ok(_) => assert!(seconds.abs() <= window, "{}: {seconds} s", setup.label),
                Err(refusal) => {
                    assert!(seconds.abs() > window, "{}: {seconds} s: {}", setup.label, refusal.code.code);
                    assert_eq!(refusal.code.reason, Reason::Clock, "{}", setup.label);
                }
            }
        }
    }
}

#[test]
fn a_changed_byte_breaks_the_seal() {
    for setup in setups().into_iter().filter(Setup::is_signed) {
        for subject in &subjects()[..2] {
            let request = setup.request(subject);
            let served = |changed: &Request<Bytes>| {
                setup.made.service.decode_request(changed, &setup.made.credential, &stamp(NOW)).0.is_ok()
            };
            assert!(served(&request));
            let mut broken = 0;
            for changed in changes_of_parameters(&request) {
                // Another spelling of the same parameters (`%2a` for `%2A`) is the same request.
                if parameters(&changed) != parameters(&request) {
                    assert!(!served(&changed), "{}: {changed:?}", setup.label);
                    broken += 1;
                }
            }
            // Where values are signed in lower case, a change of case is the same request.
            let folds_case = fixture(&format!("{}/dialect.json", setup.driver.name)).contains("\"folds_case\": true");
            for (name, changed) in changes_of_sealed_headers(&request) {
                let [before, after] = [&request, &changed].map(|one| one.headers()[&name].as_bytes());
                if folds_case && name != "authorization" && before.eq_ignore_ascii_case(after) {
                    continue;
                }
                assert!(!served(&changed), "{}: {name}: {:?}", setup.label, changed.headers().get(&name));
                broken += 1;
            }
            let mut method = request.clone();
            *method.method_mut() = if request.method() == "GET" { http::Method::POST } else { http::Method::GET };
            assert!(!served(&method), "{}", setup.label);
            assert!(broken > 300, "{}: only {broken} changes", setup.label);
        }
    }
}

fn parameters(request: &Request<Bytes>) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let mut pairs: Vec<_> =
        form_urlencoded::parse(query).into_owned().chain(form_urlencoded::parse(request.body()).into_owned()).collect();
    pairs.sort();
    pairs
}

/// `text` with each byte in turn replaced by several others, removed, or doubled.
fn changes(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..text.len()).flat_map(move |at| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let byte = text[at];
        [vec![byte ^ 1], vec![byte ^ 0x20], vec![b'0'], vec![b'&'], vec![], vec![byte, byte]]
            .into_iter()
            .filter(move |put| *put != [byte])
            .map(move |put| [before, &put, after].concat())
    })
}

/// Changes of the body and the target that still form a request.
fn changes_of_parameters(request: &Request<Bytes>) -> impl Iterator<Item = Request<Bytes>> {
    let bodies = changes(request.body()).map(|body| {
        let mut changed = request.clone();
        *changed.body_mut() = Bytes::from(body);
        changed
    });
    let target = request.uri().path_and_query().unwrap().as_str().as_bytes();
    let targets = changes(target).filter_map(|target| {
        let mut changed = request.clone();
        *changed.uri_mut() = Uri::try_from(target).ok().filter(|uri| uri.authority().is_none())?;
        Some(changed)
    });
    bodies.chain(targets)
}

/// Changes of the headers that the request itself lists as signed, and of the signature.
fn changes_of_sealed_headers(request: &Request<Bytes>) -> impl Iterator<Item = (String, Request<Bytes>)> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let signed = text("authorization").split_once("SignedHeaders=").map(|(_, rest)| rest.split_once(',').unwrap().0);
    let mut names: Vec<String> = signed.unwrap_or_default().split(';').map(str::to_owned).collect();
    names.extend(text("x-ca-signature-headers").split(',').map(str::to_owned));
    names.extend(["authorization", "x-ca-signature"].map(str::to_owned));
    if !text("x-ca-signature").is_empty() {
        names.extend(["accept", "content-type"].map(str::to_owned));
    }
    names.retain(|name| headers.contains_key(name));
    names.into_iter().flat_map(move |name| {
        let value = headers[&name].as_bytes().to_vec();
        changes(&value).collect::<Vec<_>>().into_iter().filter_map(move |value| {
            let mut changed = request.clone();
            changed
                .headers_mut()
                .insert(name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_bytes(&value).ok()?);
            Some((name.clone(), changed))
        })
    })
}

/// The central property. Turning `"BizCode":"1"` into `"BizCode":"2"` makes a genuine answer of another kind, so a
/// mutation may change the verdict. The property is: for any bytes, the result is a fault, or the verdict that an
/// independent strict reading of the documented field finds in the same bytes. While that field reads as in the
/// original, the verdict, if there is one, is that of the original.
#[test]
fn no_mutation_of_an_answer_makes_a_verdict_that_is_not_in_its_documented_field() {
    const MUTATIONS: usize = 100_000;
    for driver in DRIVERS.iter().filter(|driver| driver.dialect.is_some()) {
        let reference = Reference::of(driver.name);
        let made = configured(driver, driver.sample()).unwrap();
        let setup = Setup { driver, label: driver.name.to_owned(), made };
        let subject = subject("张三", "110101190001010014");
        let reply_to = setup.reply_to(&subject);
        let Made { protocol, service, .. } = &setup.made;
        let verdicts = Verdict::ALL.map(|verdict| service.encode_response(Ok(verdict), &reply_to));
        let refusals = driver.all_codes().map(|code| Err(Refusal { code, retry_after: None }));
        let refusals = refusals.map(|refusal| service.encode_response(refusal, &reply_to));
        let corpus: Vec<_> = verdicts.into_iter().chain(refusals).collect();
        let mut mutator = mutation::Mutator::new(0x1d6a7e, &corpus);
        let (mut survived, mut changed) = (0, 0);
        for round in 0..MUTATIONS {
            // Two of three mutations use the answers with a verdict, the others the refusals.
            let (verdicts, refusals) = corpus.split_at(Verdict::ALL.len());
            let of = if round % 3 == 2 { refusals } else { verdicts };
            let origin = &of[round / 3 % of.len()];
            let mutant = mutator.mutate(origin);
            let Ok(finding) = protocol.decode_response((&subject).into(), &mutant) else { continue };
            survived += 1;
            let read = reference.verdict(&mutant);
            let shown = || String::from_utf8_lossy(mutant.body()).into_owned();
            assert_eq!(read, Some(finding.verdict), "{}: {} {}", driver.name, mutant.status(), shown());
            let field = reference.field(origin);
            if field.is_some() && field == reference.field(&mutant) {
                assert_eq!(reference.verdict(origin), read, "{}: {}", driver.name, shown());
            } else {
                changed += 1;
            }
        }
        // Some mutants must pass the first check, and some must change the field itself.
        assert!(survived > MUTATIONS / 50 && changed > 0, "{}: {survived} survived, {changed} changed", driver.name);
    }
}
