//! What operators do from the command line where PostgreSQL is the record.

use std::process::{Command, Stdio};

use jiff::Timestamp;

use super::{Place, ask};
use crate::support::eventually;
use crate::support::postgres::{Postgres, USER};

impl Place {
    /// Runs `idgate` with a configuration whose record is this one; what it printed, and how it ended.
    fn idgate(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (socket, database) = self.postgres.clone().unwrap();
        let file = self.folder().join("idgate.toml");
        let text = format!(
            "[cache]\ndigest_key = {{ value = \"synthetic-digest-key-0123456789abcdef\" }}\n[ledger]\nspool_folder = {:?}\n[ledger.postgres]\nhost = {socket:?}\ndatabase = \"{database}\"\nuser = \"{USER}\"\n\
             [chain]\norder = [\"aliyun\"]\n[providers.aliyun]\ndriver = \"aliyun\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
             access_key_id = {{ value = \"invented\" }}\naccess_key_secret = {{ value = \"invented\" }}\n",
            self.folder()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_idgate"));
        let run = command.args(arguments).arg("--config").arg(&file).env_clear().stdin(Stdio::null()).output().unwrap();
        let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (run.status.code(), said)
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_spool_that_was_saved_is_moved_once_and_not_said_to_be_while_postgres_is_away() {
    let mut server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let ledger = place.replica("b").await;
    server.crash();
    ask(&ledger, "somebody").await;
    ledger.close().await;
    drop(ledger);
    let folder = place.folder().display().to_string();
    let arguments = ["ledger", "move", "--spool", &folder, "--replica", "b"];
    let (code, said) = place.idgate(&arguments);
    assert!(code != Some(0) && said.contains("what was in the spool still is"), "{said}");
    server.run();
    for _ in 0..2 {
        let (code, said) = place.idgate(&arguments);
        assert_eq!((code, said.contains("moved: ")), (Some(0), true), "{said}");
        let counts = "SELECT replica, count(*), max(seq) FROM idgate.entries GROUP BY replica";
        assert_eq!(server.sql(place.database(), counts), "b|2|2");
    }
    let (code, said) = place.idgate(&["ledger", "verify"]);
    assert_eq!((code, said.contains("sound: 2 entries")), (Some(0), true), "{said}");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_replica_that_never_comes_back_is_no_longer_behind_once_an_empty_spool_was_moved_for_it() {
    let mut server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let ledger = place.replica("b").await;
    ask(&ledger, "somebody").await;
    let is_known = || server.sql(place.database(), "SELECT count(*) FROM idgate.replicas WHERE replica = 'b'") == "1";
    eventually("it has said that it lives", async || is_known()).await;
    // What says so does not wait for the disk, and would be lost.
    server.sql(place.database(), "CHECKPOINT");
    // Its last words do not reach the record.
    server.crash();
    ledger.close().await;
    drop(ledger);
    server.run();
    let behind = || {
        server.sql(place.database(), "SELECT level_ms < 9223372036854775807 FROM idgate.replicas WHERE replica = 'b'")
    };
    assert_eq!(behind(), "t");
    let empty = place.folder().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (code, said) = place.idgate(&["ledger", "move", "--spool", &empty.display().to_string(), "--replica", "b"]);
    assert_eq!((code, behind().as_str()), (Some(0), "f"), "{said}");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn the_time_is_confirmed_and_an_export_of_a_provider_is_reconciled() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let ledger = place.open().await;
    ask(&ledger, "somebody").await;
    ledger.close().await;
    let newest = sql("SELECT max(at_ms) FROM idgate.entries");
    sql(&format!(
        "INSERT INTO idgate.retention (believed_ms) VALUES ({newest} - 86400000000) \
                  ON CONFLICT (only_row) DO UPDATE SET believed_ms = excluded.believed_ms"
    ));
    let (code, said) = place.idgate(&["ledger", "confirm-time"]);
    assert_eq!((code, said.contains("confirmed: ")), (Some(0), true), "{said}");
    assert_eq!(sql("SELECT believed_ms FROM idgate.retention"), newest);
    let (code, said) = place.idgate(&["ledger", "confirm-time"]);
    assert_eq!((code, said.contains("nothing to confirm")), (Some(0), true), "{said}");
    let at = Timestamp::from_millisecond(newest.parse().unwrap()).unwrap();
    let usage = place.folder().join("usage.csv").display().to_string();
    for (line, balances) in [(format!("req-1,{at},0.300000"), true), (format!("req-2,{at},0.300000"), false)] {
        std::fs::write(&usage, format!("RequestId,调用时间,金额\n{line}\n")).unwrap();
        let (code, said) = place.idgate(&["reconcile", "--provider", "one", &usage]);
        assert_eq!(code, Some(i32::from(!balances)), "{said}");
    }
    let (code, said) = place.idgate(&["reconcile", "--provider", "two", &usage]);
    assert_eq!((code, said.contains("use one of: one")), (Some(2), true), "{said}");
}
