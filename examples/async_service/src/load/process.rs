//! The service, in a process of its own.

use crate::settings::Settings;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

pub struct Process {
    pub address: SocketAddr,
    child: Child,
    /// Shows what the service prints.
    echo: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the service, and returns when it listens.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").args(settings.to_options()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().expect("it is piped");
        // From here on, the service ends with this test.
        let mut process = Self { address: ([127, 0, 0, 1], 0).into(), child, echo: None };
        let mut lines = BufReader::new(output).lines();
        loop {
            let line = lines.next().ok_or_else(|| io::Error::other("it does not start"))??;
            println!("    {line}");
            if let Some(address) = line.strip_prefix("listening on ") {
                process.address = address.parse().map_err(io::Error::other)?;
                break;
            }
        }
        let echo = move || lines.map_while(Result::ok).for_each(|line| println!("    {line}"));
        process.echo = Some(thread::spawn(echo));
        Ok(process)
    }

    /// Tells the service to end, by SIGTERM as at a deploy, and waits for that.
    pub fn end(mut self) -> io::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if let Some(echo) = self.echo.take() {
            let _ = echo.join();
        }
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("the service ended with {status}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
