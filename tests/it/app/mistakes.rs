//! Fifty mistakes that people make in a configuration: each gets a message on which one can act at once, that never
//! repeats a value and never names a file that the reader does not have.

use super::{TempFile, idgate, run};

/// A value that must never be printed.
const SECRET: &str = "synthetic-S3cret-value";

/// A valid provider and chain, to which a mistake is added.
const GOOD: &str = "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
                    app_code = { value = \"synthetic\" }\n[chain]\norder = [\"p\"]\n";

/// What is written instead of [`GOOD`] or after it, how the line about it begins, and what the line advises.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// Mistakes in addition to [`GOOD`], in a section of their own.
const ADDED: &[Case] = &[
    // Misspelt keys and sections.
    ("[server]\nlisen = \"127.0.0.1:1\"", "server.lisen: unknown key", &["did you mean `listen`?"]),
    ("[server]\nrequest-timeout = \"8s\"", "server.request-timeout:", &["did you mean `request_timeout`?"]),
    ("[server]\nMaxInFlight = 7", "server.MaxInFlight:", &["did you mean `max_in_flight`?"]),
    ("[server.connection]\nmax_connections = 1", "server.connection:", &["did you mean `connections`?"]),
    ("[client.payout]\nrate_limit = 1", "client:", &["did you mean `clients`?"]),
    ("[provider.q]\ndriver = \"yunyi\"", "provider:", &["did you mean `providers`?"]),
    ("[caches]\nmatch_ttl = \"1m\"", "caches:", &["did you mean `cache`?"]),
    ("[log]\nlevels = \"info\"", "log.levels:", &["did you mean `level`?"]),
    ("[ledger]\npath = \"ledger.db\"", "ledger.path: unknown key", &["`file`"]),
    ("[operators.oncall]\nkey = []", "operators.oncall.key:", &["did you mean `keys`?"]),
    // Keys below the wrong header.
    ("[server]\norder = [\"p\"]", "server.order:", &["belongs below the header [chain]"]),
    ("[server]\nmatch_ttl = \"1m\"", "server.match_ttl:", &["belongs below the header [cache]"]),
    ("[cache]\nfile = \"ledger.db\"", "cache.file:", &["[ledger]"]),
    ("[log]\nmax_connections = 5", "log.max_connections:", &["[server.connections]"]),
    ("[chain]\nendpoints = [\"https://x.example\"]", "chain.endpoints:", &["[providers.NAME]"]),
    ("[reload]\nlevel = \"info\"", "reload.level:", &["belongs below the header [log]"]),
    // Wrong types, which must not be converted.
    ("[server]\nmax_in_flight = \"100\"", "server.max_in_flight:", &["write an integer without quotes"]),
    ("[server]\nmax_in_flight = 2.7", "server.max_in_flight:", &["write an integer without quotes"]),
    ("[server]\nmax_in_flight = true", "server.max_in_flight:", &["write an integer without quotes"]),
    ("[server]\nmax_in_flight = -1", "server.max_in_flight: is out of range", &["0 or more"]),
    ("[server]\nrequest_timeout = 8", "server.request_timeout:", &["\"8s\""]),
    ("[server]\nrequest_timeout = \"soon\"", "server.request_timeout:", &["\"8s\""]),
    ("[server]\nlisten = 8080", "server.listen:", &["\"127.0.0.1:8080\""]),
    ("[server]\nlisten = \":8080\"", "server.listen:", &["\"127.0.0.1:8080\""]),
    ("[server]\nlisten = \"localhost:8080\"", "server.listen:", &["\"127.0.0.1:8080\""]),
    ("[compat]\nenabled = \"yes\"", "compat.enabled:", &["true or false, without quotes"]),
    ("[compat]\nenabled = 1", "compat.enabled:", &["true or false, without quotes"]),
    ("[rules]\nname_script = \"false\"", "rules.name_script:", &["true or false, without quotes"]),
    ("[breaker]\nfailure_ratio = \"0.5\"", "breaker.failure_ratio:", &["such as 0.5"]),
    ("[log]\nlevel = 3", "log.level:", &["a text in quotes"]),
    ("[ledger]\nkeep = 400", "ledger.keep:", &["\"400 days\""]),
    ("[clients.a]\npurposes = \"default\"", "clients.a.purposes:", &["a list"]),
    ("[clients.a]\ninclude_person = 3", "clients.a.include_person:", &["true or false"]),
    ("[clients.a]\ndaily_cap = true", "clients.a.daily_cap:", &["an integer of 1 or more"]),
    ("[clients.a]\nrate_limit = 2.7", "clients.a.rate_limit:", &["an integer of 1 or more"]),
    ("[clients.a]\nrate_limit = 0", "clients.a.rate_limit: is out of range", &["an integer of 1 or more"]),
    ("[clients.a]\nweight = 0", "clients.a.weight: is out of range", &["an integer of 1 or more"]),
    ("[clients.a]\nweight = 0.5", "clients.a.weight:", &["an integer of 1 or more"]),
    ("[clients.a]\nweight = 100000", "clients.a.weight: is more than 1000", &["such as 4"]),
    ("[clients.a]\nweigth = 2", "clients.a.weigth:", &["did you mean `weight`?"]),
    ("[clients.a]\npriority = \"high\"", "clients.a.priority:", &["[purposes.NAME]"]),
    ("[purposes.default]\nweight = 2", "purposes.default.weight:", &["[clients.NAME]"]),
    // Words that are not among the allowed ones.
    ("[purposes.default]\npriority = \"urgent\"", "purposes.default.priority:", &["\"high\"", "\"normal\"", "\"low\""]),
    ("[cache]\nsharing = \"none\"", "cache.sharing:", &["\"shared\"", "\"per_client\""]),
    ("[log]\nformat = \"pretty\"", "log.format:", &["\"json\" or \"text\""]),
    ("[log]\nlevel = \"verbose\"", "log.level:", &["\"info\""]),
    ("[log]\nlevel = \"\"", "log.level:", &["\"info\""]),
    ("[log]\nlevel = \"sqlx=debug\"", "log.level:", &["silences idgate", "\"info\""]),
    ("[log]\nlevel = \"info,idgate[ask]=debug\"", "log.level:", &["is not a level", "\"info,idgate::verify=debug\""]),
    // What cannot work on a machine.
    ("[server]\nadmin_listen = \"127.0.0.1:8080\"", "server.admin_listen:", &["another port"]),
    ("[server]\nlisten = \"127.0.0.1:9464\"", "server.admin_listen:", &["another port"]),
    ("[log]\nfile = \"/no/such/folder/requests.log\"", "log.file:", &["mkdir -p /no/such/folder"]),
    (
        "[ledger]\nfile = \"/no/such/folder/ledger.db\"\n[cache]\ndigest_key = { value = \"0123456789abcdef0123456789abcdef\" }",
        "ledger.file: the folder /no/such/folder does not exist",
        &["mkdir -p /no/such/folder"],
    ),
    // Clients and operators.
    ("[clients.a]", "clients.a.keys:", &["`idgate key new NAME`"]),
    ("[operators.a]", "operators.a.keys:", &["`idgate key new --operator NAME`"]),
    (
        "[operators.a]\nkeys = [{ id = \"k\", sha256 = \"synthetic-S3cret-value\" }]",
        "operators.a.keys[0].sha256:",
        &["`idgate key new --operator NAME`"],
    ),
    ("[clients.a]\nkeys = [{ id = \"k\" }]", "clients.a.keys[0]: missing key `sha256`", &["add it"]),
    (
        "[clients.a]\nkeys = [{ id = \"k\", sha256 = \"\", expires = \"next year\" }]",
        "clients.a.keys[0].expires:",
        &["\"2027-01-01T00:00:00Z\""],
    ),
    (
        "[purposes.payot]\non_unknown = \"stop\"\n[clients.a]\npurposes = [\"payout\"]",
        "purposes.payot:",
        &["did you mean `payout`?"],
    ),
];

/// Whole configurations.
const WHOLE: &[Case] = &[
    (
        "[providers.p]\ndriver = \"yunyi\"\nendpoint = [\"https://provider.example\"]\napp_code = { value = \"x\" }",
        "providers.p.endpoint: unknown key",
        &["did you mean `endpoints`?", "`rate_limit`", "`app_code`"],
    ),
    (
        "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\nappcode = \"synthetic-S3cret-value\"",
        "providers.p.appcode: unknown key",
        &["did you mean `app_code`?"],
    ),
    (
        "[providers.p]\ndriver = \"aliyun\"\nendpoints = [\"https://provider.example\"]\ncredential = { kind = \"environment\" }",
        "providers.p.credential: unknown key",
        &["did you mean `credentials`?"],
    ),
    (
        "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\ncredentials = { kind = \"environment\" }",
        "providers.p.credentials: unknown key",
        &["`app_code`", "`proxy`"],
    ),
    ("[providers.p]\ndrivre = \"yunyi\"", "providers.p.drivre: unknown key", &["did you mean `driver`?"]),
    ("[providers.p]\ndriver = \"aliyn\"", "providers.p.driver:", &["did you mean `aliyun`?"]),
    (
        "[providers.aliyun]\ndriver = \"aliyun\"\n[chain]\norder = [\"alyun\"]",
        "chain.order: names alyun",
        &["did you mean `aliyun`?"],
    ),
    ("order = [\"p\"]", "order: unknown key", &["belongs below the header [chain]"]),
    ("listen = \"127.0.0.1:8080\"", "listen: unknown key", &["belongs below the header [server]"]),
    ("profile = \"prod\"", "profile:", &["\"development\" or \"production\""]),
    ("[chain]\norder = [\"p\"\n[log]\nlevel = \"info\"", "", &["is not valid TOML at line", ": "]),
    ("[log]\nlevel = synthetic-S3cret-value", "", &["is not valid TOML at line 2", ": "]),
    ("[log]\nlevel = \"info\"\nlevel = \"warn\"", "", &["is not valid TOML at line 3", "duplicate key"]),
];

#[test]
fn fifty_mistakes_that_people_make_each_get_a_message_to_act_on() {
    let added = ADDED.iter().map(|(toml, begins, says)| (format!("{GOOD}\n{toml}\n"), toml, begins, says));
    // A second [chain] would be a mistake of its own.
    let added = added.map(|(whole, toml, begins, says)| match toml.strip_prefix("[chain]\n") {
        Some(keys) => (format!("{GOOD}\n{keys}\n"), toml, begins, says),
        None => (whole, toml, begins, says),
    });
    let whole = WHOLE.iter().map(|(toml, begins, says)| ((*toml).to_owned(), toml, begins, says));
    let all: Vec<_> = added.chain(whole).collect();
    assert!(all.len() >= 50, "{}", all.len());
    let mut unhelpful = Vec::new();
    for (text, toml, begins, says) in all {
        let file = TempFile::new("mistake.toml", &text);
        let ran = run(&mut idgate(&["check", "--config", file.path()]), "");
        let lines: Vec<_> = ran.err.lines().skip(1).map(str::trim).collect();
        let is_told = lines.iter().any(|line| line.starts_with(begins) && says.iter().all(|word| line.contains(word)));
        let is_discreet = !ran.err.contains(SECRET) && !ran.err.contains("config/default.toml");
        if ran.code != Some(78) || !is_told || !is_discreet {
            unhelpful.push(format!("{toml}\n  wanted: {begins} … {says:?}\n  got {:?}: {lines:#?}", ran.code));
        }
    }
    assert!(unhelpful.is_empty(), "{} of the messages help nobody:\n{}", unhelpful.len(), unhelpful.join("\n"));
}

#[test]
fn a_variable_is_a_text_and_becomes_what_its_key_expects() {
    let file = TempFile::new("variables.toml", GOOD);
    let check = |name: &str, value: &str| run(idgate(&["check", "--config", file.path()]).env(name, value), "");
    for (name, value) in [
        ("IDGATE__SERVER__MAX_IN_FLIGHT", "7"),
        ("IDGATE__RULES__NAME_SCRIPT", "false"),
        ("IDGATE__RULES__NAME_SCRIPT", "1"),
        ("IDGATE__BREAKER__FAILURE_RATIO", "0.4"),
        ("IDGATE__BREAKER__FAILURE_RATIO", "1"),
        ("IDGATE__LOG__LEVEL", "3"),
        ("IDGATE__PROVIDERS__P__RATE_LIMIT", "3"),
    ] {
        let ran = check(name, value);
        assert_eq!(ran.code, Some(0), "{name}={value}: {}", ran.err);
    }
    for (name, value, told) in [
        ("IDGATE__SERVER__MAX_IN_FLIGHT", "2.7", "server.max_in_flight: has the wrong type; write an integer"),
        ("IDGATE__SERVER__MAX_IN_FLIGHT", "true", "server.max_in_flight: has the wrong type; write an integer"),
        ("IDGATE__RULES__NAME_SCRIPT", "perhaps", "rules.name_script: has the wrong type; write true or false"),
        ("IDGATE__CHAIN__ORDER", "p", "chain.order: is a list, which a variable cannot hold"),
        ("IDGATE__PROVIDERS__P__RATE_LIMIT", "0", "providers.p.rate_limit: is out of range"),
    ] {
        let ran = check(name, value);
        assert!(ran.code == Some(78) && ran.err.contains(told), "{name}={value}: {}", ran.err);
    }
}

#[test]
fn the_command_line_says_what_to_write_too() {
    let past = run(&mut idgate(&["key", "new", "payout", "--expires", "2020-01-01"]), "");
    assert!(past.code == Some(64) && past.err.contains("is in the past"), "{}", past.err);
    let listen = run(&mut idgate(&["sandbox", "--listen", "localhost"]), "");
    assert!(listen.code == Some(64) && listen.err.contains("write 127.0.0.1:8080, or only 8080"), "{}", listen.err);
    let default = run(&mut idgate(&["config", "default"]), "");
    assert!(default.code == Some(0) && default.out.contains("\n[chain]\n"), "{}", default.out);
}
