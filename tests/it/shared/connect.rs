//! `idgate check --connect`, TLS, users and passwords.

use std::process::{Command, Stdio};

use crate::support::services::RedisServer;

fn check(toml: &str) -> (Option<i32>, String) {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("connect-{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&file, toml).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_idgate"))
        .args(["check", "--connect", "--config"])
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    std::fs::remove_file(file).unwrap();
    let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (run.status.code(), said)
}

fn configuration(address: &str, more: &str) -> String {
    format!(
        "[cache]\ndigest_key = {{ value = \"synthetic-digest-key-0123456789abcdef\" }}\n[replica]\nmost = 3\n\
         [shared]\nredis = [\"{address}\"]\n{more}\n[chain]\norder = [\"aliyun\"]\n\
         [providers.aliyun]\ndriver = \"aliyun\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
         access_key_id = {{ value = \"invented\" }}\naccess_key_secret = {{ value = \"invented\" }}\n"
    )
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_is_looked_at_before_it_is_relied_on() {
    let redis = RedisServer::start();
    let (code, said) = check(&configuration(&redis.address(), ""));
    assert_eq!(code, Some(0), "{said}");
    for seen in ["is the primary", "its clock is", "version ", "maxmemory-policy noeviction"] {
        assert!(said.contains(seen), "{said}");
    }
    let wrong = RedisServer::with(&["--maxmemory-policy", "allkeys-lru", "--replicaof", "127.0.0.1", "1"]);
    let (code, said) = check(&configuration(&wrong.address(), ""));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("MISTAKE: is a replica") && said.contains("write volatile-lru"), "{said}");
    let (code, said) = check(&configuration("unix:/nowhere/redis", ""));
    assert_eq!((code, said.contains("MISTAKE: cannot be used")), (Some(78), true), "{said}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_user_with_the_documented_rights_is_enough_and_a_wrong_password_is_said() {
    let rights = "on >synthetic-password ~idgate1:* &idgate1:* +@read +@write +@scripting +@pubsub +hello +ping +time \
                  -@dangerous +role";
    let arguments = ["--user", "default", "off", "--user", "idgate"].into_iter().chain(rights.split_whitespace());
    let redis = RedisServer::with(&arguments.collect::<Vec<_>>());
    let login = |password: &str| format!("user = \"idgate\"\npassword = {{ value = \"{password}\" }}");
    let (code, said) = check(&configuration(&redis.address(), &login("synthetic-password")));
    assert_eq!((code, said.contains("is the primary")), (Some(0), true), "{said}");
    let (code, said) = check(&configuration(&redis.address(), &login("another-password")));
    assert_eq!(code, Some(78), "{said}");
    assert!(!said.contains("password-") && !said.contains("another-password"), "{said}");
}
