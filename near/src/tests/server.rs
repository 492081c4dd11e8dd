//! Starts real servers, each on a free loopback port, without persistence, and ends them.

use redis::aio::MultiplexedConnection;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A server that runs. It ends, by its process id, when this is dropped.
pub struct Server {
    program: PathBuf,
    port: u16,
    child: Child,
    /// The file of a Sentinel or a node, which it writes to.
    file: Option<PathBuf>,
}

/// The programs to test with.
fn programs() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("COEVAL_SERVERS") {
        return std::env::split_paths(&list).filter(|path| path.is_file()).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    ["redis-server", "valkey-server"].iter().filter_map(|name| find(name)).collect()
}

/// Runs a test with each server there is.
pub fn with_each(test: &str, run: impl AsyncFn(&mut Server)) {
    let programs = programs();
    if programs.is_empty() {
        eprintln!(
            "skipped: {test}: neither redis-server nor valkey-server is in PATH, and \
             COEVAL_SERVERS names no file (Debian: apt-get install redis-server)"
        );
    }
    for program in programs {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut server = Server::start(program);
        runtime.block_on(async {
            eprintln!("{test}: {}", server.version().await);
            run(&mut server).await;
        });
    }
}

/// A port that nobody has, and that was not given to another test: who does not get its port would
/// find that test's server there.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Starts a server on this port. None if it ends at once, as when somebody else has the port.
fn spawn(program: &PathBuf, port: u16, more: &[&str]) -> Option<Child> {
    let port_text = port.to_string();
    let mut command = Command::new(program);
    command
        .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--enable-debug-command", "yes"])
        // Where a replica puts what it is sent.
        .args(["--repl-diskless-load", "swapdb", "--repl-diskless-sync-delay", "0"])
        .args(more);
    wait_for(command, program, port)
}

/// The same, as a node of a cluster, which keeps in a file what it knows of the others.
fn spawn_node(program: &PathBuf, port: u16, bus: u16, file: &Path, more: &[&str]) -> Option<Child> {
    let (bus, name) = (bus.to_string(), file.to_str().unwrap());
    let node = ["--cluster-enabled", "yes", "--cluster-config-file", name, "--cluster-port", &bus];
    spawn(program, port, &[&node[..], more].concat())
}

/// Starts a program that listens to this port. None if it ends at once.
fn wait_for(mut command: Command, program: &Path, port: u16) -> Option<Child> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{} is silent", program.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}

impl Server {
    fn start(program: PathBuf) -> Self {
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = spawn(&program, port, &[]) {
                return Self { program, port, child, file: None };
            }
        }
        panic!("{} does not start", program.display());
    }

    /// Starts a server of the same kind as a node of a cluster, with more arguments. Returns the
    /// port by which other nodes reach it, too.
    pub fn node(&self, more: &[&str]) -> (Self, u16) {
        for _ in 0..5 {
            let [port, bus] = [free_port(), free_port()];
            let file = std::env::temp_dir().join(format!("coeval-node-{port}.conf"));
            // A run that was ended may have left its cluster there.
            let _ = std::fs::remove_file(&file);
            if let Some(child) = spawn_node(&self.program, port, bus, &file, more) {
                let program = self.program.clone();
                return (Self { program, port, child, file: Some(file) }, bus);
            }
        }
        panic!("{} does not start as a node", self.program.display());
    }

    /// Starts another server of the same kind.
    pub fn another(&self) -> Self {
        Self::start(self.program.clone())
    }

    /// Starts a Sentinel that watches over this server, as `primary`, and decides alone.
    pub fn sentinel(&self) -> Self {
        let port = free_port();
        let file = std::env::temp_dir().join(format!("coeval-sentinel-{port}.conf"));
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndaemonize no\n\
             sentinel monitor primary 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds primary 500\n\
             sentinel failover-timeout primary 3000\n",
            self.port
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(&self.program);
        command.arg(&file).arg("--sentinel");
        let child = wait_for(command, &self.program, port).expect("the Sentinel starts");
        Self { program: self.program.clone(), port, child, file: Some(file) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection of somebody else.
    pub async fn other(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Sends a command of words as somebody else.
    pub async fn tell(&self, command: &str) -> redis::Value {
        tell(&mut self.other().await, command).await
    }

    /// Whether this part of INFO has this text.
    pub async fn says(&self, part: &str, text: &str) -> bool {
        let mut other = self.other().await;
        let info: String = redis::cmd("INFO").arg(part).query_async(&mut other).await.unwrap();
        info.contains(text)
    }

    /// Its name and version.
    pub async fn version(&self) -> String {
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut self.other().await).await.unwrap();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        match field("valkey_version:") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", field("redis_version:").unwrap_or("?")),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Halts the process, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, on its port.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Starts a node again.
    pub fn restart_node(&mut self, bus: u16) {
        let file = self.file.as_ref().expect("it is a node");
        let node = spawn_node(&self.program, self.port, bus, file, &[]);
        self.child = node.expect("the ports are free again");
    }

    /// The same, with more arguments.
    pub fn restart_with(&mut self, more: &[&str]) {
        self.child = spawn(&self.program, self.port, more).expect("the port is free again");
    }
}

/// Sends a command of words.
pub async fn tell(connection: &mut MultiplexedConnection, command: &str) -> redis::Value {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    for word in words {
        cmd.arg(word);
    }
    cmd.query_async(connection).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}
