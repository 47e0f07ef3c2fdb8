//! A real PostgreSQL for tests, on a Unix socket in a folder of its own. It ends with the process that started it,
//! however that ends.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pki::Authority;

/// `nobody` and `nogroup`, whose number is the same on every Debian: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// The user that may do everything.
pub const USER: &str = "idgate";

/// A cluster, and the process that watches over its server.
pub struct Postgres {
    folder: PathBuf,
    server: Option<Child>,
    options: &'static [&'static str],
    port: u16,
    databases: AtomicU64,
}

impl Postgres {
    /// The cluster that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["-c", "fsync=off"]))
    }

    /// A cluster of its own, for a test that stops it.
    pub fn start(options: &'static [&'static str]) -> Self {
        Self::prepare(options, 5432)
    }

    /// A cluster that is also reached by TCP, with TLS, from clients that have a certificate of this authority.
    pub fn start_tls(authority: &Authority) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let issued = authority.server();
        let folder = std::env::temp_dir().join(format!("idgate-postgres-tls-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let copies = [("server.pem", issued.certificate), ("server.key", issued.key), ("ca.pem", authority.path())];
        let [certificate, key, ca] = copies.map(|(name, from)| {
            let to = folder.join(name);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            if is_root() {
                chown(&to, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            to.display().to_string()
        });
        let options = ["fsync=off", "ssl=on", "listen_addresses=127.0.0.1"].map(str::to_owned).into_iter().chain([
            format!("port={port}"),
            format!("ssl_cert_file={certificate}"),
            format!("ssl_key_file={key}"),
            format!("ssl_ca_file={ca}"),
        ]);
        let options: Vec<&'static str> = options.flat_map(|option| ["-c", &*option.leak()]).collect();
        let server = Self::prepare(options.leak(), port);
        let lines = "local all all trust\nhostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n";
        std::fs::write(server.folder.join("data/pg_hba.conf"), lines).unwrap();
        server.sql("postgres", "SELECT pg_reload_conf()");
        server
    }

    /// Where it is reached by TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn prepare(options: &'static [&'static str], port: u16) -> Self {
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        // A socket's path has 107 bytes at most, which a folder below target/ may exceed.
        let folder = std::env::temp_dir().join(format!("idgate-postgres-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.join("data");
        let mut initdb = as_nobody(&program("initdb"), &folder);
        initdb.args(["-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        succeeded(&initdb.output().expect("initdb, of Debian's postgresql"));
        let mut cluster = Self { folder, server: None, options, port, databases: AtomicU64::default() };
        cluster.run();
        cluster
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the server and returns once it answers.
    pub fn run(&mut self) {
        // The shell's standard input ends with this process, and the server with that.
        const WATCH: &str = "\"$@\" & server=$!; cat >/dev/null; kill -QUIT $server; wait $server; \
                             [ -e \"$KEEP\" ] || rm -rf \"$FOLDER\"";
        let mut watched = as_nobody(Path::new("sh"), &self.folder);
        watched.args(["-c", WATCH, "sh"]).arg(program("postgres")).arg("-D").arg(self.folder.join("data"));
        watched.arg("-k").arg(&self.folder).args(["-c", "listen_addresses=", "-c", "max_connections=200"]);
        watched.args(self.options).env("FOLDER", &self.folder).env("KEEP", self.folder.join("keep"));
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        watched.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(watched.spawn().unwrap());
        for _ in 0..600 {
            if self.psql("postgres", "SELECT 1").status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("PostgreSQL does not start: {}", std::fs::read_to_string(self.folder.join("log")).unwrap());
    }

    /// Ends the server as a crash does; its data stays.
    pub fn crash(&mut self) {
        std::fs::write(self.folder.join("keep"), "").unwrap();
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            server.wait().unwrap();
        }
        std::fs::remove_file(self.folder.join("keep")).unwrap();
    }

    /// From now on every role but [`USER`] has to give its password.
    pub fn require_passwords(&self, database: &str) {
        let lines = format!("local all {USER} trust\nlocal all all scram-sha-256\n");
        std::fs::write(self.folder.join("data/pg_hba.conf"), lines).unwrap();
        self.sql(database, "SELECT pg_reload_conf()");
    }

    /// Makes the server hang, or go on: it still accepts connections, and answers none.
    pub fn hang(&self, hangs: bool) {
        let signal = if hangs { "-STOP" } else { "-CONT" };
        for pid in self.processes() {
            let _ = Command::new("kill").args([signal, &pid]).status();
        }
    }

    /// The server and the processes that it has started.
    fn processes(&self) -> Vec<String> {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        std::iter::once(pid).chain(children.split_whitespace().map(str::to_owned)).collect()
    }

    /// A new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements, and returns what they say: a row in a line, columns with a bar between them.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database, statements);
        succeeded(&output);
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Everything in the database, as a backup has it.
    pub fn dump(&self, database: &str) -> String {
        let mut dump = Command::new(program("pg_dump"));
        let output = dump.arg("-h").arg(&self.folder).args(["-U", USER, database]).output().expect("pg_dump");
        succeeded(&output);
        String::from_utf8(output.stdout).unwrap()
    }

    fn psql(&self, database: &str, statements: &str) -> Output {
        let mut psql = Command::new(program("psql"));
        psql.arg("-h").arg(&self.folder).args([
            "-p",
            &self.port.to_string(),
            "-U",
            USER,
            "-d",
            database,
            "-qXAt",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        psql.args(["-c", statements]).stdin(Stdio::null()).output().expect("psql, of Debian's postgresql")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A `pgbouncer` that gives each transaction whatever connection is free.
pub struct Pooler {
    process: Child,
    folder: PathBuf,
}

impl Pooler {
    pub fn before(server: &Postgres) -> Self {
        let folder = server.folder.join("pooler");
        std::fs::create_dir(&folder).unwrap();
        let users = folder.join("users");
        std::fs::write(&users, format!("\"{USER}\" \"\"\n")).unwrap();
        let ini = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nunix_socket_dir = {}\nlisten_port = 5432\nauth_type = trust\n\
             auth_file = {}\npool_mode = transaction\ndefault_pool_size = 6\nmax_client_conn = 100\n\
             ignore_startup_parameters = extra_float_digits\n",
            server.folder.display(),
            server.port,
            folder.display(),
            users.display()
        );
        std::fs::write(&ini, text).unwrap();
        if is_root() {
            [&folder, &users, &ini].into_iter().for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = as_nobody(Path::new("pgbouncer"), &folder);
        command.arg(&ini).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("pgbouncer, of Debian's pgbouncer");
        let pooler = Self { process, folder };
        for _ in 0..200 {
            if std::os::unix::net::UnixStream::connect(pooler.folder.join(".s.PGSQL.5432")).is_ok() {
                return pooler;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("pgbouncer does not start: {}", std::fs::read_to_string(pooler.folder.join("log")).unwrap());
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// Debian keeps the programs of each version in a folder of its own.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| PathBuf::from(name))
}

fn as_nobody(program: &Path, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder);
    command
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
