//! Starts real servers, each with a folder of its own and on a free loopback port, and ends them.
//!
//! `COEVAL_POSTGRES` names the folder of the programs `initdb` and `postgres`; without it, that is
//! one in `PATH`, or Debian's.

use pgwire_replication::client::QueryRow;
use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A server that runs. It ends, by its process id, when this is dropped, and its folder is removed.
pub struct Server {
    folder: PathBuf,
    port: u16,
    child: Child,
    more: Vec<String>,
    template: Arc<Template>,
}

/// The folder of a server that was never started, to be copied.
struct Template {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

/// Where the programs are, or what to do if they are nowhere.
fn programs() -> Result<PathBuf, String> {
    let mut folders: Vec<PathBuf> = match std::env::var_os("COEVAL_POSTGRES") {
        Some(folder) => vec![folder.into()],
        None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
    };
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut found: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
        found.sort();
        folders.extend(found.into_iter().rev());
    }
    let has_both =
        |folder: &PathBuf| ["initdb", "postgres"].iter().all(|it| folder.join(it).is_file());
    folders.into_iter().find(has_both).ok_or_else(|| {
        "initdb and postgres are neither in PATH nor in /usr/lib/postgresql, and COEVAL_POSTGRES \
         names no folder with them (Debian: apt-get install postgresql)"
            .to_owned()
    })
}

/// The user that runs the servers, if we are root, whom they refuse.
fn user() -> Result<Option<(u32, u32)>, String> {
    if std::fs::metadata("/proc/self").map_or(1, |it| it.uid()) != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    for name in ["postgres", "nobody"] {
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        if let Some(it) = fields.filter(|it| it.len() > 3).find(|it| it[0] == name) {
            return Ok(Some((it[2].parse().unwrap(), it[3].parse().unwrap())));
        }
    }
    Err("root may not run PostgreSQL, and there is no user postgres or nobody".to_owned())
}

/// A new folder that this user may use.
fn new_folder(user: Option<(u32, u32)>) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("coeval-postgres-{}-{count}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    if let Some((user, group)) = user {
        chown(&folder, Some(user), Some(group)).unwrap();
    }
    folder
}

impl Template {
    /// The template that there is, or a new one.
    fn get() -> Result<Arc<Self>, String> {
        static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut current = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = current.upgrade() {
            return Ok(template);
        }
        let (programs, user) = (programs()?, user()?);
        let template = Arc::new(Self { programs, folder: new_folder(user), user });
        let mut initdb = template.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale"]);
        initdb.args(["--encoding=UTF8", "-D"]).arg(template.folder.join("data"));
        let done = initdb.output().map_err(|error| format!("initdb: {error}"))?;
        if !done.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&done.stderr)));
        }
        *current = Arc::downgrade(&template);
        Ok(template)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env("LC_ALL", "C").stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts a server. None if it ends at once, as when somebody else has the port.
    fn spawn(&self, folder: &Path, port: u16, more: &[String]) -> Option<Child> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "wal_level=logical",
            "max_wal_senders=100",
            "max_replication_slots=20",
            "max_prepared_transactions=10",
            "shared_buffers=16MB",
            "autovacuum=off",
            "fsync=off",
        ] {
            command.args(["-c", setting]);
        }
        for setting in more {
            command.args(["-c", setting]);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while !is_ready(port) {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(child)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a server answers a request to begin: it does not while it starts.
fn is_ready(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let mut packet = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
    packet.extend(196_608u32.to_be_bytes());
    packet.extend(parameters);
    let mut first = [0];
    let answer = stream.write_all(&packet).and_then(|()| stream.read_exact(&mut first));
    answer.is_ok() && first == *b"R"
}

/// A client of the simple kind: texts to the server, and rows of texts from it. The session that
/// `pgwire-replication` has before a stream is enough for that.
pub struct Client(tokio::sync::Mutex<ReplicationClient>);

impl Client {
    pub async fn connect(port: u16) -> Self {
        let config =
            ReplicationConfig::new("127.0.0.1", "postgres", "", "postgres", "none", "none")
                .with_port(port)
                .with_application_name("somebody");
        let client = Self(ReplicationClient::connect_gated(config).await.unwrap().into());
        client.run("SELECT 1").await.unwrap();
        client
    }

    /// Runs statements.
    pub async fn run(&self, statements: &str) -> Result<(), PgWireError> {
        self.rows(statements).await.map(drop)
    }

    /// Runs a statement, and returns its rows.
    pub async fn rows(&self, statement: &str) -> Result<Vec<QueryRow>, PgWireError> {
        self.0.lock().await.simple_query(statement).await
    }
}

/// One value of a row.
pub fn text(row: &QueryRow, at: usize) -> Option<&str> {
    std::str::from_utf8(row.get(at)?.as_ref()?).ok()
}

impl Server {
    /// Starts a server with these settings, such as `wal_writer_delay=10s`. An error says why there
    /// can be none.
    pub fn start(more: &[&str]) -> Result<Self, String> {
        let template = Template::get()?;
        let folder = new_folder(template.user);
        let copied = Command::new("cp")
            .arg("-a")
            .args([template.folder.join("data"), folder.join("data")])
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "the template is copied");
        let more: Vec<String> = more.iter().map(|&it| it.to_owned()).collect();
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            if let Some(child) = template.spawn(&folder, port, &more) {
                return Ok(Self { folder, port, child, more, template });
            }
        }
        Err("postgres does not start".to_owned())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of somebody else.
    pub async fn client(&self) -> Client {
        Client::connect(self.port).await
    }

    /// Runs statements as somebody else.
    pub async fn tell(&self, statements: &str) {
        self.client().await.run(statements).await.unwrap();
    }

    /// The first value that a statement returns.
    pub async fn ask(&self, statement: &str) -> String {
        let rows = self.client().await.rows(statement).await.unwrap();
        rows.first().and_then(|row| text(row, 0)).unwrap_or_default().to_owned()
    }

    /// Its process id.
    pub fn id(&self) -> String {
        self.child.id().to_string()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, such as `-INT`, to the server, and waits until it has ended.
    pub fn end(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {id}");
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has stored, on its port.
    pub fn restart(&mut self) {
        let child = self.template.spawn(&self.folder, self.port, &self.more);
        self.child = child.expect("the port is free again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, and in order: a server that is killed leaves shared memory behind.
        if self.is_running() {
            let _ = Command::new("kill").args(["-QUIT", &self.id()]).status();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
