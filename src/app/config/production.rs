//! With `profile = "production"`, rejects settings that are acceptable for local development only. (`secret` rejects
//! inline secrets and secret files that every user can read.)

use super::mistakes::Mistake;
use super::raw::Behind;
use super::settings::{PlainListener, Settings};
use crate::verify::ProviderConfig;

/// All mistakes in `settings` that only production rejects.
pub(super) fn mistakes(settings: &Settings) -> Vec<Mistake> {
    let providers = settings.verify.providers.iter().flat_map(provider);
    let parts = listeners(settings).into_iter().chain(clients(settings)).chain(log(settings)).chain(ledger(settings));
    let parts = parts.chain(shared(settings)).chain(console(settings));
    providers.chain(parts).collect()
}

fn mistake(key: impl Into<String>, problem: &str) -> Mistake {
    Mistake::new(key, problem)
}

fn provider(provider: &ProviderConfig) -> Vec<Mistake> {
    let at = format!("providers.{}", provider.name);
    let plain = provider.endpoints.iter().enumerate().filter(|(_, endpoint)| !endpoint.is_https()).map(|(index, _)| {
        let problem = "is plain HTTP, which production refuses even on loopback; write \"https://…\"";
        mistake(format!("{at}.endpoints[{index}]"), problem)
    });
    let sandbox = is_sandboxed(provider).then(|| {
        let problem = "uses the public credential of the sandbox; configure a real one";
        mistake(&at, problem)
    });
    plain.chain(sandbox).collect()
}

fn is_sandboxed(provider: &ProviderConfig) -> bool {
    let Ok(sandbox) = provider.driver.sandbox() else { return false };
    let Some(invented) = sandbox.access.given() else { return false };
    provider.configured.access.given().into_iter().chain(&provider.next).any(|given| given.is(invented))
}

fn listeners(settings: &Settings) -> Vec<Mistake> {
    if settings.server.behind == Behind::TrustedProxy {
        return Vec::new();
    }
    let to_mistake = |PlainListener { key, section, .. }| {
        let problem = format!(
            "serves plain HTTP to other machines, which production refuses; add [{section}], listen on a loopback \
             address behind a proxy on this machine, or write server.behind = \"trusted-proxy\" if nothing but a mesh or \
             a proxy that ends TLS can reach this port"
        );
        mistake(key, &problem)
    };
    settings.plain_listeners().map(to_mistake).collect()
}

fn clients(settings: &Settings) -> Option<Mistake> {
    let problem = "is empty, so anybody who reaches the port could use the API; add a [clients.NAME] section for each \
                   caller (`idgate key new NAME`)";
    settings.clients.is_empty().then(|| mistake("clients", problem))
}

fn ledger(settings: &Settings) -> Option<Mistake> {
    let problem = "is missing, so answers and paid calls would not be recorded; write a path on a persistent disk, \
                   such as \"/var/lib/idgate/ledger.db\"";
    (!settings.ledger.is_on()).then(|| mistake("ledger.file", problem))
}

/// What replicas would have each of their own, as a sentence after the key `shared`.
pub(in crate::app) const WITHOUT_A_RECORD: &str =
    "without ledger.postgres each replica has claims, budgets and forgettings of its own; name one";

fn shared(settings: &Settings) -> Option<Mistake> {
    settings.lacks_a_common_record().then(|| mistake("shared", WITHOUT_A_RECORD))
}

/// Also behind a proxy: keys and cookies would cross a network in the clear.
fn console(settings: &Settings) -> Option<Mistake> {
    let server = &settings.server;
    let is_plain = server.admin_tls.is_none() && !server.admin_listen.ip().is_loopback();
    let problem = "is true, and browsers of other machines would reach it over plain HTTP; add [server.admin_tls], let \
                   server.admin_listen be a loopback address, or write false";
    (settings.console.enabled && is_plain).then(|| mistake("console.enabled", problem))
}

/// Debug lines of other libraries contain headers, which include keys.
fn log(settings: &Settings) -> Option<Mistake> {
    let is_fine = |level: &str| matches!(level.trim().to_ascii_lowercase().as_str(), "debug" | "trace" | "4" | "5");
    let tells_too_much = settings.log.level.split(',').any(|directive| match directive.rsplit_once('=') {
        Some((target, level)) => is_fine(level) && !is_ours(target),
        // A bare word is a level, or a target that logs everything.
        None => is_fine(directive) || !(is_level(directive) || is_ours(directive)),
    });
    let problem = "logs other libraries at debug level, whose lines can contain headers and keys; write \"info\", \
                   or \"info,idgate=debug\" for debug lines of idgate only";
    tells_too_much.then(|| mistake("log.level", problem))
}

fn is_ours(target: &str) -> bool {
    let target = target.trim();
    target == "idgate" || target.starts_with("idgate::")
}

fn is_level(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    word.is_empty() || matches!(word.as_str(), "off" | "error" | "warn" | "info" | "0" | "1" | "2" | "3")
}

#[cfg(test)]
mod tests {
    use super::super::Sources;

    #[test]
    fn replicas_without_a_common_record_are_for_a_laptop() {
        let driver = crate::providers::DRIVERS.iter().find(|driver| driver.is_secret("app_code")).unwrap();
        let (key, code) = driver.sample().first().unwrap();
        let shared = format!(
            "[cache]\ndigest_key = {{ env = \"KEY\" }}\n[replica]\nmost = 3\n[shared]\nredis = [\"unix:/run/redis\"]\n\
             [chain]\norder = [\"one\"]\n[providers.one]\ndriver = \"{}\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
             {key} = {{ env = \"CODE\" }}\n",
            driver.name
        );
        let record = "[ledger]\nspool_folder = \"/var/spool/idgate\"\n[ledger.postgres]\nhost = \"/run/postgresql\"\n\
                      database = \"idgate\"\nuser = \"idgate\"\n";
        let load = |text: String| {
            let sources = Sources::text(text).with_variable("CODE", code);
            sources.with_variable("KEY", "synthetic-digest-key-0123456789abcdef").load()
        };
        assert!(load(shared.clone()).unwrap().lacks_a_common_record());
        assert!(!load(format!("{shared}{record}")).unwrap().lacks_a_common_record());
        let told = |text: String| {
            let told = load(format!("profile = \"production\"\n{text}")).unwrap_err().0;
            told.into_iter().filter(|mistake| mistake.key == "shared").count()
        };
        assert_eq!((told(shared.clone()), told(format!("{shared}{record}"))), (1, 0));
    }

    #[test]
    fn each_mistake_of_replicas_is_said_with_its_key() {
        const REDIS: &str = "[shared]\nredis = [\"unix:/run/redis\"]\n";
        const KEY: &str = "[cache]\ndigest_key = { value = \"synthetic-digest-key-0123456789abcdef\" }\n";
        const POSTGRES: &str =
            "[ledger.postgres]\nhost = \"/run/postgresql\"\ndatabase = \"idgate\"\nuser = \"idgate\"\n";
        for (text, key, part) in [
            (format!("{REDIS}[replica]\nmost = 3\n"), "shared.redis", "cache.digest_key is not"),
            (format!("{REDIS}{KEY}"), "replica.most", "is 1 with [shared]"),
            (
                format!("[ledger]\nfile = \"/l\"\nspool_folder = \"/s\"\n{POSTGRES}"),
                "ledger.file",
                "cannot both be the record",
            ),
            (POSTGRES.to_owned(), "ledger.postgres", "wants ledger.spool_folder on a disk that stays"),
            (
                format!("{KEY}[replica]\nmost = 3\n[shared]\nredis = [\"redis.internal:6379\"]\ntls = false\n"),
                "shared.tls",
                "is false for another machine",
            ),
            (
                format!("{KEY}[replica]\nmost = 3\n[server]\nrequest_timeout = \"1s\"\n{REDIS}patience = \"200ms\"\n"),
                "shared.patience",
                "is longer than a tenth of server.request_timeout",
            ),
        ] {
            let told = Sources::text(text).load().unwrap_err().0;
            let found = told.iter().find(|mistake| mistake.key == key);
            let found =
                found.unwrap_or_else(|| panic!("{key}: {:?}", told.iter().map(|one| &one.key).collect::<Vec<_>>()));
            assert!(format!("{}; {}", found.problem, found.remedy).contains(part), "{key}: {}", found.problem);
        }
    }

    #[test]
    fn each_thing_for_a_laptop_has_its_own_sentence() {
        let driver = crate::providers::DRIVERS.iter().find(|driver| driver.is_secret("app_code")).unwrap();
        let (key, code) = driver.sample().first().unwrap();
        let toml = format!(
            "profile = \"production\"\n[log]\nlevel = \"debug\"\n[server]\nlisten = \"0.0.0.0:1\"\n[chain]\norder = [\"one\"]\n[providers.one]\n\
             driver = \"{}\"\nendpoints = [\"http://127.0.0.1:1\"]\n{key} = {{ env = \"CODE\" }}\n",
            driver.name
        );
        let sources = Sources::text(toml).with_variable("CODE", code);
        let told = sources.load().unwrap_err().0;
        let told: Vec<_> = told.iter().map(|mistake| &*mistake.key).collect();
        let of_server = ["server.listen", "server.listen"];
        let others = ["clients", "ledger.file", "log.level", "providers.one", "providers.one.endpoints[0]"];
        assert_eq!(told, [&others[..], &of_server].concat());
    }

    #[test]
    fn plain_http_is_for_who_says_that_a_trusted_proxy_stands_in_front() {
        let refused = |behind: &str| {
            let toml = format!("profile = \"production\"\n[server]\nlisten = \"0.0.0.0:1\"\n{behind}\n");
            let told = Sources::text(toml).load().unwrap_err().0;
            let told = told.iter().map(|one| format!("{}; {}", one.problem, one.remedy));
            told.filter(|told| told.contains("plain HTTP")).collect::<Vec<_>>()
        };
        for open in ["", "behind = \"nothing\""] {
            let told = refused(open);
            assert!(told.len() == 1 && told[0].contains("server.behind = \"trusted-proxy\""), "{told:?}");
        }
        assert_eq!(refused("behind = \"trusted-proxy\""), Vec::<String>::new());
    }

    #[test]
    fn the_console_is_for_loopback_or_for_tls_also_behind_a_proxy() {
        let refused = |listen: &str, enabled: bool| {
            let toml = format!(
                "profile = \"production\"\n[server]\nadmin_listen = \"{listen}:1\"\nbehind = \"trusted-proxy\"\n[console]\n\
                 enabled = {enabled}\n"
            );
            Sources::text(toml).load().unwrap_err().0.iter().any(|mistake| mistake.key == "console.enabled")
        };
        assert!(refused("0.0.0.0", true) && !refused("0.0.0.0", false) && !refused("127.0.0.1", true));
    }

    #[test]
    fn only_our_own_lines_may_be_told_in_full() {
        let tells = |level: &str| {
            let toml = format!("profile = \"production\"\n[log]\nlevel = \"{level}\"\n");
            Sources::text(toml).load().unwrap_err().0.iter().any(|mistake| mistake.key == "log.level")
        };
        for fine in ["info", "warn,idgate=trace", "info,idgate::verify=debug,h2=warn", "off", "error,idgate"] {
            assert!(!tells(fine), "{fine}");
        }
        for too_much in
            ["debug", "TRACE", "info,hyper=trace", "info,h2", "info,idgate_other=debug", "info,sqlx=de bug", "5"]
        {
            assert!(tells(too_much), "{too_much}");
        }
    }
}
