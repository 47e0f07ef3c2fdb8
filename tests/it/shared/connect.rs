//! `idgate check --connect`, TLS, Sentinel, users and passwords.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use idgate::storage::shared::Section;

use super::{Replica, section};
use crate::support::eventually;
use crate::support::pki::Authority;
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

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
#[ignore = "needs redis-server"]
fn over_tls_the_server_is_verified_and_a_certificate_is_shown_if_it_wants_one() {
    let (authority, stranger) = (Authority::new("redis"), Authority::new("stranger"));
    let (server, client) = (authority.server(), authority.client("idgate.example"));
    for wants in ["no", "yes"] {
        let port = free_port();
        let [certificate, key, ca] =
            [&server.certificate, &server.key, &authority.path()].map(|path| path.display().to_string());
        let redis = RedisServer::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            wants,
        ]);
        let address = format!("127.0.0.1:{port}");
        let ca = |authority: &Authority| format!("ca_file = {:?}", authority.path());
        let identity = format!("certificate = {:?}\nkey = {{ file = {:?} }}", client.certificate, client.key);
        let (code, said) = check(&configuration(&address, &format!("{}\n{identity}", ca(&authority))));
        assert_eq!((code, said.contains("is the primary")), (Some(0), true), "{wants}: {said}");
        let (code, said) = check(&configuration(&address, &ca(&authority)));
        assert_eq!(code == Some(0), wants == "no", "{wants}: {said}");
        let (code, said) = check(&configuration(&address, &format!("{}\n{identity}", ca(&stranger))));
        assert_eq!(code, Some(78), "{wants}: {said}");
        drop(redis);
    }
}

/// A process that ends with the test.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn when_the_sentinels_have_promoted_another_one_that_is_the_one_that_is_used() {
    let [one, two, watch] = [(); 3].map(|()| free_port());
    let mut primary = RedisServer::with(&["--port", &one.to_string()]);
    let standby = RedisServer::with(&["--port", &two.to_string(), "--replicaof", "127.0.0.1", &one.to_string()]);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sentinel-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("sentinel.conf");
    let text = format!(
        "port {watch}\nbind 127.0.0.1\ndir {}\nsentinel monitor idgate 127.0.0.1 {one} 1\n\
         sentinel down-after-milliseconds idgate 500\nsentinel failover-timeout idgate 3000\n",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    let sentinel = Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap();
    let _sentinel = Sentinel(sentinel);
    let role = async |of: &RedisServer| -> String {
        let mut connection = of.connect().await;
        let said: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await.unwrap();
        redis::from_redis_value(said.into_iter().next().unwrap()).unwrap()
    };
    let info = async || -> String {
        let Ok(client) = redis::Client::open(format!("redis://127.0.0.1:{watch}")) else { return String::new() };
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return String::new() };
        redis::cmd("INFO").arg("sentinel").query_async(&mut connection).await.unwrap_or_default()
    };
    eventually("the sentinel knows both", async || info().await.contains("slaves=1")).await;
    let named =
        |redis: &[String]| Section { redis: redis.to_vec(), sentinel: Some("idgate".to_owned()), ..section("") };
    let sentinels = [format!("127.0.0.1:{watch}")];
    let replica = Replica::of(named(&sentinels), "one");
    eventually("it is connected", async || replica.shared.is_up()).await;
    primary.kill();
    eventually("it has noticed", async || !replica.shared.is_up()).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while !(replica.shared.is_up() && role(&standby).await == "master") {
        assert!(tokio::time::Instant::now() < until, "it is not connected to the new primary: {}", info().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = std::fs::remove_dir_all(folder);
}
