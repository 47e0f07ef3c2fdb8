//! The credential sources as pure request and response sequences, without a network: compared byte for byte with the
//! recorded exchanges of the vendor's client, and tested with every kind, mode and false answer.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use idgate::domain::personal::Secret;
use idgate::providers::alibaba::credentials::{KEYS, PLACES, imds};
use idgate::providers::alibaba::rpc_v1;
use idgate::providers::alibaba::schemes::ACCESS_KEY;
use idgate::providers::codec::form;
use idgate::providers::source::{Granted, Miss, MissReason, Source, Step};
use idgate::providers::temporary::Lender;
use idgate::providers::{Access, Credential, CredentialStore, DRIVERS, Driver, Settings, Stamp};
use zeroize::Zeroizing;

use super::fixture;

const NOW: &str = "2026-11-22T02:36:56Z";
/// The key of the recorded exchanges.
const KEYS_OF_BASE: [(&str, &str); 2] =
    [("credentials.access_key_id", "testAccessKeyId"), ("credentials.access_key_secret", "testAccessKeySecret")];
const ROLE: &str = "acs:ram::123456789012****:role/idv";
const OIDC: &str = "acs:ram::123456789012****:oidc-provider/ack-rrsa";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.sig";
const GOOD: &str = r#"{"Code":"Success","AccessKeyId":"STS.exampleKeyId","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2099-01-01T00:00:00Z"}"#;

/// A driver that fetches credentials.
fn driver() -> &'static Driver {
    DRIVERS.iter().find(|driver| !driver.variables.is_empty()).expect("a driver that fetches")
}

/// The source for these settings and variables, or the keys of all mistakes.
fn source(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Arc<dyn Source>, Vec<&'static str>> {
    let mut sorted = Settings::default();
    for (key, value) in settings {
        if driver().is_secret(key.trim_start_matches("credentials.")) {
            sorted.secret.insert((*key).to_owned(), Secret::new(*value));
        } else {
            sorted.plain.insert((*key).to_owned(), (*value).to_owned());
        }
    }
    sorted.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    match (driver().configure)(&sorted) {
        Ok(configured) => match configured.access {
            Access::Fetched(source) => Ok(source),
            Access::Given(_) => panic!("given"),
        },
        Err(mistakes) => Err(mistakes.into_iter().map(|(key, _)| key).collect()),
    }
}

/// The response of the simulated peer to a request.
type Answers = fn(&Request<Bytes>) -> Result<Response<Bytes>, MissReason>;

/// The simulated peer: files by path, responses to requests, and a record of everything read and sent.
#[derive(Default)]
struct Other {
    files: BTreeMap<String, String>,
    answer: Option<Answers>,
    sent: Vec<Request<Bytes>>,
    local: Vec<bool>,
    read: Vec<String>,
}

impl Other {
    fn with_file(mut self, path: &str, content: &str) -> Self {
        self.files.insert(path.to_owned(), content.to_owned());
        self
    }

    fn answering(mut self, answer: Answers) -> Self {
        self.answer = Some(answer);
        self
    }

    fn talk(&mut self, mut step: Step) -> Result<Granted, Vec<Miss>> {
        loop {
            step = match step {
                Step::Done(granted) => return Ok(granted),
                Step::Failed(misses) => return Err(misses),
                Step::Read(path, then) => {
                    let path = path.display().to_string();
                    self.read.push(path.clone());
                    then(self.files.get(&path).map(|text| Zeroizing::new(text.clone().into_bytes())))
                }
                Step::Ask(ask, then) => {
                    let nonce = format!("nonce-{}", self.sent.len());
                    let request = (ask.compose)(&Stamp { now: NOW.parse().unwrap(), nonce }).expect("a request");
                    let answer = self.answer.map_or(Err(MissReason::Unreachable), |answer| answer(&request));
                    self.sent.push(request);
                    self.local.push(ask.is_local);
                    then((answer, NOW.parse().unwrap()))
                }
            };
        }
    }

    /// Fetches a credential from a source with these settings.
    fn fetch(
        &mut self,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<(String, &'static str), Vec<Miss>> {
        let source = source(settings, variables).unwrap_or_else(|keys| panic!("{keys:?}"));
        let granted = self.talk(source.begin(None))?;
        Ok((id(&granted.credential), granted.from))
    }
}

fn id(credential: &Credential) -> String {
    credential.id().to_owned()
}

fn body(text: &str) -> Result<Response<Bytes>, MissReason> {
    Ok(Response::new(Bytes::from(text.to_owned())))
}

/// A cloud whose services all work.
fn cloud(request: &Request<Bytes>) -> Result<Response<Bytes>, MissReason> {
    match request.uri().path() {
        imds::TOKEN_PATH => body("exampleMetadataToken"),
        imds::ROLES_PATH => body("idv-test-role"),
        path if path.starts_with(imds::ROLES_PATH) => body(GOOD),
        "/" => body(&format!("{{\"RequestId\":\"R\",\"Credentials\":{GOOD}}}")),
        _ => body(GOOD),
    }
}

fn pairs(bytes: &[u8]) -> BTreeMap<String, String> {
    form::decode_pairs(bytes).into_iter().collect()
}

fn of_form(request: &Request<Bytes>) -> BTreeMap<String, String> {
    assert_eq!((request.method().as_str(), request.uri().query()), ("POST", None), "nothing may be in the URL");
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    pairs(request.body())
}

/// The request heads of the recorded exchange with this title: first lines and headers.
fn recorded(title: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let text = fixture("transcripts/credentials-exchanges.txt").replace("\r\n", "\n");
    let section = text.split("\n### ").find(|section| section.starts_with(title)).expect("a section").to_owned();
    section
        .split("\n--- scheme ")
        .skip(1)
        .map(|exchange| {
            let mut lines = exchange.lines().skip(1).take_while(|line| !line.starts_with("---"));
            let first = lines.next().unwrap().to_owned();
            let headers = lines.filter_map(|line| line.split_once(": "));
            (first, headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
        })
        .collect()
}

/// The parameters of a recorded GET.
fn recorded_query(title: &str) -> BTreeMap<String, String> {
    let (first, _) = recorded(title).remove(0);
    pairs(first.split(['?', ' ']).nth(2).unwrap().as_bytes())
}

fn oidc() -> Vec<(&'static str, &'static str)> {
    vec![
        ("credentials.kind", "oidc_role"),
        ("credentials.role_arn", ROLE),
        ("credentials.oidc_provider_arn", OIDC),
        ("credentials.token_file", "/token"),
        ("credentials.session_name", "idv-gateway"),
    ]
}

fn ram_role() -> Vec<(&'static str, &'static str)> {
    let mut settings = KEYS_OF_BASE.to_vec();
    settings.extend([
        ("credentials.kind", "ram_role_arn"),
        ("credentials.role_arn", ROLE),
        ("credentials.session_name", "idv-gateway"),
    ]);
    settings
}

#[test]
fn a_role_is_asked_for_with_the_parameters_of_the_vendors_client_and_its_signature_is_ours() {
    let theirs = recorded_query("STS AssumeRole\n");
    let signed: Vec<_> = theirs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let secret = Secret::new("testAccessKeySecret");
    assert_eq!(rpc_v1::sign("GET", &signed, &secret), theirs["Signature"], "their signature, made by us");

    let mut other = Other::default().answering(cloud);
    assert_eq!(other.fetch(&ram_role(), &[]).unwrap(), ("STS.exampleKeyId".to_owned(), "ram_role_arn"));
    let [request] = &*other.sent else { panic!("one request") };
    assert_eq!(request.uri().to_string(), "https://sts.aliyuncs.com/");
    let mut ours = of_form(request);
    let signature = ours.remove("Signature").unwrap();
    let signed: Vec<_> = ours.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(signature, rpc_v1::sign("POST", &signed, &secret), "the form is signed as their query is");
    let mut theirs = theirs.clone();
    theirs.remove("Signature");
    assert_eq!(ours.remove("SignatureNonce").as_deref(), Some("nonce-0"));
    theirs.remove("SignatureNonce");
    assert_eq!(ours, theirs, "but for the place, the nonce and the signature");
}

#[test]
fn a_token_is_sent_with_the_parameters_of_the_vendors_client_and_never_in_a_url() {
    let mut theirs = recorded_query("STS AssumeRoleWithOIDC");
    let mut other = Other::default().with_file("/token", &format!("{TOKEN}\n")).answering(cloud);
    assert_eq!(other.fetch(&oidc(), &[]).unwrap().1, "oidc_role");
    let ours = of_form(&other.sent[0]);
    theirs.insert("Timestamp".to_owned(), NOW.to_owned());
    assert_eq!(ours, theirs);
    assert!(!ours.contains_key("Signature") && !ours.contains_key("AccessKeyId"), "the token is the proof");
    assert_eq!(other.local, [false]);
}

#[test]
fn metadata_is_asked_as_the_vendors_client_asks_with_one_token_for_both_questions() {
    let mut other = Other::default().answering(cloud);
    assert_eq!(other.fetch(&[("credentials.kind", "ecs_metadata")], &[]).unwrap().1, "ecs_metadata");
    let mut theirs = recorded("ECS metadata service");
    // The vendor's client fetches a second token between the role name and the keys.
    assert_eq!(theirs.remove(2).0, theirs[0].0);
    assert_eq!((theirs.len(), other.sent.len()), (3, 3));
    for ((first, headers), request) in theirs.iter().zip(&other.sent) {
        assert_eq!(*first, format!("{} {} HTTP/1.1", request.method(), request.uri().path()));
        assert_eq!(request.uri().authority().unwrap(), "100.100.100.200");
        for name in ["x-aliyun-ecs-metadata-token-ttl-seconds", "x-aliyun-ecs-metadata-token"] {
            let ours = request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(ours, headers.get(name).map(String::as_str), "{first} {name}");
        }
    }
    assert_eq!(other.local, [true; 3], "nothing may be in between");
}

#[test]
fn without_a_token_metadata_is_asked_as_version_1_unless_that_is_forbidden() {
    let no_tokens: Answers = |request| match request.uri().path() {
        imds::TOKEN_PATH => Ok(Response::builder().status(404).body(Bytes::new()).unwrap()),
        _ => cloud(request),
    };
    let role = ("credentials.role_name", "idv-test-role");
    let mut other = Other::default().answering(no_tokens);
    assert!(other.fetch(&[("credentials.kind", "ecs_metadata"), role], &[]).is_ok());
    assert_eq!((other.sent.len(), other.sent[1].headers().get("x-aliyun-ecs-metadata-token")), (2, None));
    let settings = [("credentials.kind", "ecs_metadata"), role, ("credentials.allow_v1", "false")];
    let by_variable = (&[("credentials.kind", "ecs_metadata")][..], &[("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")][..]);
    for (settings, variables) in [(&settings[..], &[][..]), by_variable] {
        let mut other = Other::default().answering(no_tokens);
        let misses = other.fetch(settings, variables).unwrap_err();
        assert_eq!(misses, [Miss { source: "ecs_metadata", reason: MissReason::Refused, code: None }]);
        assert_eq!(other.sent.len(), 1);
    }
}

#[test]
fn a_uri_is_asked_as_the_vendors_client_asks() {
    let mut other = Other::default().answering(cloud);
    let settings = [("credentials.kind", "uri"), ("credentials.uri", "http://127.0.0.1:80/creds?scope=idv")];
    assert_eq!(other.fetch(&settings, &[]).unwrap().1, "uri");
    let (first, _) = recorded("credentials URI").remove(0);
    assert_eq!(first, format!("GET {} HTTP/1.1", other.sent[0].uri().path_and_query().unwrap()));
}

#[test]
fn whatever_a_place_answers_instead_of_keys_is_none_and_says_why() {
    const CASES: [(Answers, MissReason); 9] = [
        (|_| Err(MissReason::Unreachable), MissReason::Unreachable),
        (|_| Err(MissReason::Timeout), MissReason::Timeout),
        (|_| Ok(Response::builder().status(500).body(GOOD.into()).unwrap()), MissReason::Refused),
        (|_| Ok(Response::builder().status(403).body(Bytes::new()).unwrap()), MissReason::Refused),
        (|_| Ok(Response::builder().status(302).body(Bytes::new()).unwrap()), MissReason::Redirect),
        (|_| body("{\"Code\":"), MissReason::Garbage),
        (|_| body(r#"{"Code":"Failed"}"#), MissReason::NotSuccess),
        (|request| body(&wrong(request, "\"AccessKeySecret\"", "\"Other\"")), MissReason::MissingField),
        (|request| body(&wrong(request, "2099", "1999")), MissReason::AlreadyEnded),
    ];
    let uri = [("credentials.kind", "uri"), ("credentials.uri", "https://keys.example/x")];
    let role =
        [("credentials.kind", "ecs_metadata"), ("credentials.role_name", "r"), ("credentials.allow_v1", "false")];
    for (answer, reason) in CASES {
        for settings in [&uri[..], &ram_role(), &oidc()] {
            let mut other = Other::default().with_file("/token", TOKEN).answering(answer);
            let misses = other.fetch(settings, &[]).unwrap_err();
            assert_eq!(misses.iter().map(|miss| miss.reason).collect::<Vec<_>>(), [reason], "{settings:?}");
        }
    }
    let metadata_lies: Answers = |request| match request.uri().path() {
        imds::TOKEN_PATH => body("token"),
        _ => body(r#"{"Code":"AssumeRoleFailed"}"#),
    };
    let misses = Other::default().answering(metadata_lies).fetch(&role, &[]).unwrap_err();
    assert_eq!(misses[0].reason, MissReason::NotSuccess);
}

fn wrong(request: &Request<Bytes>, right: &str, wrong: &str) -> String {
    let good = cloud(request).unwrap();
    assert_eq!(good.status(), StatusCode::OK);
    String::from_utf8(good.into_body().to_vec()).unwrap().replace(right, wrong)
}

#[test]
fn the_code_of_a_refusal_is_told_if_it_is_documented_and_its_text_never() {
    let refused: Answers = |_| {
        let text = r#"{"RequestId":"R","Code":"InvalidAccessKeyId.NotFound","Message":"testAccessKeyId is unknown"}"#;
        Ok(Response::builder().status(404).body(text.into()).unwrap())
    };
    let misses = Other::default().answering(refused).fetch(&ram_role(), &[]).unwrap_err();
    let code = Some("InvalidAccessKeyId.NotFound");
    assert_eq!(misses, [Miss { source: "ram_role_arn", reason: MissReason::Refused, code }]);
    let strange: Answers = |_| Ok(Response::builder().status(400).body(r#"{"Code":"Mine"}"#.into()).unwrap());
    assert_eq!(Other::default().answering(strange).fetch(&ram_role(), &[]).unwrap_err()[0].code, None);
}

#[test]
fn the_token_file_is_read_for_each_fetch() {
    let source = source(&oidc(), &[]).unwrap();
    let mut other = Other::default().with_file("/token", "first").answering(cloud);
    other.talk(source.begin(None)).unwrap();
    other = other.with_file("/token", "second");
    other.talk(source.begin(Some("oidc_role"))).unwrap();
    let sent: Vec<_> = other.sent.iter().map(|request| of_form(request)["OIDCToken"].clone()).collect();
    assert_eq!(sent, ["first", "second"]);
    for bad in [None, Some(""), Some(" \n"), Some("two words")] {
        let mut other = Other::default().answering(cloud);
        if let Some(content) = bad {
            other = other.with_file("/token", content);
        }
        let expected = if bad.is_none() { MissReason::FileUnreadable } else { MissReason::FileForm };
        assert_eq!(other.fetch(&oidc(), &[]).unwrap_err()[0].reason, expected);
        assert!(other.sent.is_empty());
    }
}

#[test]
fn sts_is_where_the_vendors_rules_say() {
    let host = |variables: &[(&str, &str)], endpoint: Option<&'static str>| {
        let mut settings = ram_role();
        settings.extend(endpoint.map(|endpoint| ("credentials.sts_endpoint", endpoint)));
        let mut other = Other::default().answering(cloud);
        other.fetch(&settings, variables).unwrap();
        other.sent[0].uri().authority().unwrap().to_string()
    };
    let (region, vpc) = (("ALIBABA_CLOUD_STS_REGION", "cn-hangzhou"), ("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true"));
    assert_eq!(host(&[], None), "sts.aliyuncs.com");
    assert_eq!(host(&[vpc], None), "sts.aliyuncs.com", "the network matters only beside a region");
    assert_eq!(host(&[region], None), "sts.cn-hangzhou.aliyuncs.com");
    assert_eq!(host(&[region, vpc], None), "sts-vpc.cn-hangzhou.aliyuncs.com");
    assert_eq!(host(&[region], Some("https://sts.example")), "sts.example");
}

const CLI: &str = r#"{"current": "ak", "profiles": [
    {"name": "ak", "mode": "AK", "access_key_id": "akId", "access_key_secret": "s", "retry_timeout": 0},
    {"name": "sts", "mode": "StsToken", "access_key_id": "stsId", "access_key_secret": "s", "sts_token": "t"},
    {"name": "role", "mode": "RamRoleArn", "access_key_id": "baseId", "access_key_secret": "s", "ram_role_arn": "arn",
        "ram_session_name": "mine", "expired_seconds": 900, "external_id": "x", "sts_region": "cn-beijing", "enable_vpc": true},
    {"name": "ecs", "mode": "EcsRamRole", "ram_role_name": "named-role"},
    {"name": "oidc", "mode": "OIDC", "ram_role_arn": "arn", "oidc_provider_arn": "p", "oidc_token_file": "/token"},
    {"name": "chained", "mode": "ChainableRamRoleArn", "source_profile": "role", "ram_role_arn": "second"},
    {"name": "circle", "mode": "ChainableRamRoleArn", "source_profile": "circle", "ram_role_arn": "arn"},
    {"name": "sso", "mode": "CloudSSO", "access_token": "t"}, {"name": "oauth", "mode": "OAuth"},
    {"name": "external", "mode": "External", "process_command": "x"}, {"name": "new", "mode": "Telepathy"},
    {"name": "half", "mode": "AK", "access_key_id": "akId"}]}"#;

fn cli(profile: &'static str) -> (Other, Result<String, MissReason>) {
    let mut other =
        Other::default().with_file("/home/idv/.aliyun/config.json", CLI).with_file("/token", TOKEN).answering(cloud);
    let mut settings = vec![("credentials.kind", "cli_profile")];
    settings.extend((!profile.is_empty()).then_some(("credentials.profile", profile)));
    let fetched = other.fetch(&settings, &[("HOME", "/home/idv")]);
    let fetched = fetched.inspect(|(_, from)| assert_eq!(*from, "cli_profile")).map(|(id, _)| id);
    (other, fetched.map_err(|misses| misses[0].reason))
}

#[test]
fn each_mode_of_the_command_line_leads_to_its_keys() {
    assert_eq!(cli("").1.as_deref(), Ok("akId"), "without a name it is the current one");
    assert_eq!(cli("ak").1.as_deref(), Ok("akId"));
    assert_eq!(cli("sts").1.as_deref(), Ok("stsId"));
    let (other, fetched) = cli("role");
    assert_eq!(fetched.as_deref(), Ok("STS.exampleKeyId"));
    let form = of_form(&other.sent[0]);
    let told = ["AccessKeyId", "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId"].map(|name| &*form[name]);
    assert_eq!(told, ["baseId", "arn", "mine", "900", "x"]);
    assert_eq!(other.sent[0].uri().authority().unwrap(), "sts-vpc.cn-beijing.aliyuncs.com");
    let (other, _) = cli("ecs");
    assert!(other.sent.last().unwrap().uri().path().ends_with("/named-role"));
    assert_eq!(of_form(&cli("oidc").0.sent[0])["OIDCToken"], TOKEN);
    let (other, _) = cli("chained");
    let forms: Vec<_> = other.sent.iter().map(of_form).collect();
    assert_eq!((forms[0]["RoleArn"].as_str(), forms[1]["RoleArn"].as_str()), ("arn", "second"));
    assert_eq!((forms[1]["AccessKeyId"].as_str(), forms[1]["SecurityToken"].as_str()), ("STS.exampleKeyId", "t"));
    assert_ne!(forms[0]["SignatureNonce"], forms[1]["SignatureNonce"]);
}

#[test]
fn profiles_that_are_for_people_or_nobody_say_so() {
    for (profile, reason) in [
        ("sso", MissReason::ForPeople),
        ("oauth", MissReason::ForPeople),
        ("external", MissReason::ForPeople),
        ("new", MissReason::UnknownMode),
        ("half", MissReason::MissingField),
        ("circle", MissReason::Circle),
        ("nobody", MissReason::NoProfile),
    ] {
        let (other, fetched) = cli(profile);
        assert_eq!((fetched, other.sent.len()), (Err(reason), 0), "{profile}");
    }
    for (content, reason) in [("[]", MissReason::FileForm), ("{", MissReason::FileForm), ("{}", MissReason::NoProfile)]
    {
        let mut other = Other::default().with_file("/f", content);
        let settings = [("credentials.kind", "cli_profile"), ("credentials.file", "/f"), ("credentials.profile", "x")];
        assert_eq!(other.fetch(&settings, &[]).unwrap_err()[0].reason, reason, "{content}");
    }
}

#[test]
fn each_type_of_the_ini_file_leads_to_its_keys() {
    const INI: &str = "[default]\ntype = access_key\naccess_key_id = iniId\naccess_key_secret = s # old\n\
        [role]\ntype = ram_role_arn\naccess_key_id = b\naccess_key_secret = s\nrole_arn = arn\nrole_session_name = n\n\
        [oidc]\ntype = oidc_role_arn\nrole_arn = arn\noidc_provider_arn = p\noidc_token_file_path = /token\n\
        [ecs]\ntype = ecs_ram_role\nrole_name = named-role\n[rsa]\ntype = rsa_key_pair\n";
    let home = [("HOME", "/home/idv")];
    let fetch = |file: &str, profile: &'static str| {
        let mut other = Other::default().with_file(file, INI).with_file("/token", TOKEN).answering(cloud);
        let settings = [("credentials.kind", "profile_file"), ("credentials.profile", profile)];
        let fetched = other.fetch(&settings, &home);
        (other, fetched.map(|(id, _)| id).map_err(|misses| misses[0].reason))
    };
    // The path that the Go and Node clients use, and the path that the Python client uses.
    for file in ["/home/idv/.alibabacloud/credentials", "/home/idv/.alibabacloud/credentials.ini"] {
        assert_eq!(fetch(file, "default").1.as_deref(), Ok("iniId"), "{file}");
    }
    let file = "/home/idv/.alibabacloud/credentials";
    assert_eq!(of_form(&fetch(file, "role").0.sent[0])["RoleSessionName"], "n");
    assert_eq!(of_form(&fetch(file, "oidc").0.sent[0])["OIDCToken"], TOKEN);
    assert!(fetch(file, "ecs").0.sent.last().unwrap().uri().path().ends_with("/named-role"));
    assert_eq!(fetch(file, "rsa").1, Err(MissReason::UnknownMode));
    assert_eq!(fetch(file, "nobody").1, Err(MissReason::NoProfile));
    assert_eq!(fetch("/elsewhere", "default").1, Err(MissReason::FileUnreadable));
}

const EVERYTHING: [(&str, &str); 7] = [
    ("HOME", "/home/idv"),
    ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "/token"),
    ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", OIDC),
    ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
    ("ALIBABA_CLOUD_CREDENTIALS_URI", "http://127.0.0.1:1/creds"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "envId"),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
];

#[test]
fn the_default_chain_has_the_vendors_order_and_tells_every_miss() {
    let chain = [("credentials.kind", "default_chain")];
    assert_eq!(Other::default().fetch(&chain, &EVERYTHING).unwrap(), ("envId".to_owned(), "environment"));
    // One of the two variables alone does not count, as with the vendor's clients.
    let half = &EVERYTHING[..6];
    let misses = Other::default().fetch(&chain, half).unwrap_err();
    let tried: Vec<_> = misses.iter().map(|miss| miss.source).collect();
    assert_eq!(tried, ["environment", "oidc_role", "cli_profile", "profile_file", "ecs_metadata", "uri"]);
    let mut other = Other::default().with_file("/token", TOKEN).answering(cloud);
    assert_eq!(other.fetch(&chain, half).unwrap().1, "oidc_role");
    let mut other = Other::default().with_file("/home/idv/.aliyun/config.json", CLI).answering(cloud);
    assert_eq!(other.fetch(&chain, half).unwrap(), ("akId".to_owned(), "cli_profile"));
    // On the vendor's machines, the role of the machine has priority over the URI, which is last.
    let mut other = Other::default().answering(cloud);
    assert_eq!(other.fetch(&chain, half).unwrap().1, "ecs_metadata");
    let no_metadata: Vec<_> = half.iter().copied().chain([("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")]).collect();
    assert_eq!(other.fetch(&chain, &no_metadata).unwrap().1, "uri");
    let no_cli: Vec<_> = half.iter().copied().chain([("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true")]).collect();
    let mut other = Other::default().with_file("/home/idv/.aliyun/config.json", CLI).answering(cloud);
    assert_eq!(other.fetch(&chain, &no_cli).unwrap().1, "ecs_metadata");
}

#[test]
fn of_a_chain_the_one_that_worked_is_kept_and_its_failure_is_no_other_identity() {
    let chain = source(&[("credentials.kind", "default_chain")], &EVERYTHING[..6]).unwrap();
    let mut other = Other::default().answering(cloud);
    assert_eq!(other.talk(chain.begin(None)).unwrap().from, "ecs_metadata");
    // A token file appears, and the metadata service no longer answers.
    let metadata_is_out: Answers = |request| match request.uri().host() {
        Some("100.100.100.200") => Err(MissReason::Timeout),
        _ => cloud(request),
    };
    let mut other = Other::default().with_file("/token", TOKEN).answering(metadata_is_out);
    let misses = other.talk(chain.begin(Some("ecs_metadata"))).unwrap_err();
    assert!(misses.iter().all(|miss| miss.source == "ecs_metadata"), "{misses:?}");
    assert!(other.read.is_empty());
    // A source is pinned only after it has succeeded; without a winner, the whole chain is tried again.
    assert_eq!(other.talk(chain.begin(None)).unwrap().from, "oidc_role");
}

#[test]
fn mistakes_of_the_table_are_all_told_with_their_keys() {
    let keys = |settings: &[(&str, &str)]| source(settings, &[]).map(|_| ()).unwrap_err();
    assert_eq!(keys(&[("credentials.kind", "magic")]), ["credentials.kind"]);
    assert_eq!(keys(&[("credentials.uri", "x")]), ["credentials.kind"]);
    assert_eq!(keys(&[("credentials.kind", "environment")]), ["credentials.kind"]);
    assert_eq!(
        keys(&[("credentials.kind", "oidc_role"), ("credentials.duration", "1m"), ("credentials.sts_endpoint", "x")]),
        [
            "credentials.role_arn",
            "credentials.duration",
            "credentials.sts_endpoint",
            "credentials.oidc_provider_arn",
            "credentials.token_file"
        ]
    );
    assert_eq!(keys(&[("credentials.kind", "uri")]), ["credentials.uri"]);
    assert_eq!(keys(&[("credentials.kind", "uri"), ("credentials.uri", "http://10.0.0.1/")]), ["credentials.uri"]);
    assert_eq!(
        keys(&[
            ("credentials.kind", "ecs_metadata"),
            ("credentials.allow_v1", "maybe"),
            ("credentials.role_name", "../x"),
            ("credentials.endpoint", "http://10.0.0.1"),
            ("credentials.uri", "x")
        ]),
        ["credentials", "credentials.role_name", "credentials.allow_v1", "credentials.endpoint"]
    );
    assert_eq!(keys(&[("credentials.kind", "cli_profile")]), ["credentials.file"]);
    assert_eq!(
        keys(&[("credentials.kind", "ram_role_arn"), ("credentials.role_arn", "a")]),
        ["credentials.access_key_id", "credentials.access_key_secret"]
    );
    assert_eq!(keys(&[("credentials.kind", "default_chain"), ("access_key_id", "x")]), ["access_key_id"]);
    let bad_uri = source(&[("credentials.kind", "default_chain")], &[("ALIBABA_CLOUD_CREDENTIALS_URI", "http://x/")]);
    assert_eq!(bad_uri.map(|_| ()).unwrap_err(), ["credentials"]);
}

#[test]
fn equal_settings_have_equal_fingerprints_and_nothing_shows_a_secret() {
    let of = |settings: &[(&str, &str)]| source(settings, &EVERYTHING).unwrap();
    let one = of(&ram_role());
    assert_eq!(one.fingerprint(), of(&ram_role()).fingerprint());
    let mut other = ram_role();
    other[1] = ("credentials.access_key_secret", "another");
    assert_ne!(one.fingerprint(), of(&other).fingerprint());
    for (kind, _) in KEYS {
        let mut settings = ram_role();
        settings.retain(|(key, _)| *kind == "ram_role_arn" || *key == "credentials.kind");
        settings.retain(|(key, _)| *key != "credentials.kind");
        settings.push(("credentials.kind", kind));
        let shown = format!("{:?}", of(&settings));
        for secret in ["testAccessKeySecret", "/creds"] {
            assert!(!shown.contains(secret), "{kind}: {shown}");
        }
    }
}

/// The credential store of a simulated service, with the key of the recorded exchanges.
struct Desk {
    keys: Credential,
    lent: Cell<Option<Duration>>,
}

impl Lender for Desk {
    fn keys(&self) -> &dyn CredentialStore {
        &self.keys
    }

    fn lend(&self, lifetime: Duration) -> Granted {
        self.lent.set(Some(lifetime));
        Granted { credential: self.keys.clone(), ends: None, from: "test" }
    }

    fn session(&self) -> Option<String> {
        None
    }

    fn knows_session(&self, _token: &[u8]) -> bool {
        false
    }
}

#[test]
fn a_simulated_sts_accepts_what_the_vendors_client_sends_and_nothing_else() {
    let sts = PLACES.iter().find(|place| place.name == "sts").unwrap();
    let stamp = Stamp { now: NOW.parse().unwrap(), nonce: "n".to_owned() };
    for title in ["STS AssumeRole\n", "STS AssumeRoleWithOIDC"] {
        let keys = Credential::new(&ACCESS_KEY, "testAccessKeyId", Secret::new("testAccessKeySecret"));
        let desk = Desk { keys, lent: Cell::new(None) };
        let (first, _) = recorded(title).remove(0);
        let uri = format!("https://sts.aliyuncs.com{}", first.split(' ').nth(1).unwrap());
        let answer = |uri: &str| (sts.answer)(&Request::get(uri).body(Bytes::new()).unwrap(), &desk, &stamp);
        assert_eq!(answer(&uri).status(), 200);
        assert_eq!(desk.lent.take(), Some(Duration::from_hours(1)));
        let broken = uri.replace("3600", "3601").replace("OIDCToken=", "OtherToken=");
        assert_ne!(answer(&broken).status(), 200);
        assert_eq!(desk.lent.take(), None);
    }
}
