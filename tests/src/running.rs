//! A `naru apply` while it runs: its events as they come, and signals at the right moment.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Looks at whether the program has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A program that says one JSON document per line.
pub struct Running {
    child: Child,
    events: Receiver<Value>,
    /// Everything heard so far.
    pub heard: Vec<Value>,
    stderr: JoinHandle<String>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub heard: Vec<Value>,
    pub stderr: String,
}

impl Running {
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start naru")?;
        let stdout = child.stdout.take().context("stdout was piped")?;
        let mut stderr = child.stderr.take().context("stderr was piped")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self { child, events, heard: Vec::new(), stderr })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next event, or nothing when the program has closed its output.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub fn next(&mut self, deadline: Duration) -> Result<Option<Value>> {
        match self.events.recv_timeout(deadline) {
            Ok(event) => {
                self.heard.push(event.clone());
                Ok(Some(event))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("no event within {} s after {}", deadline.as_secs(), self.last()),
        }
    }

    /// Listens until an event is the one; nothing when the program ended before that.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn until(&mut self, deadline: Duration, is_it: impl Fn(&Value) -> bool) -> Result<Option<Value>> {
        let start = Instant::now();
        while let Some(event) = self.next(deadline.saturating_sub(start.elapsed()))? {
            if is_it(&event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn last(&self) -> String {
        self.heard.last().map_or_else(|| "the start".to_owned(), Value::to_string)
    }

    /// What a terminal sends at Ctrl-C.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn interrupt(&self) -> Result<()> {
        let process = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has a number")?;
        Ok(kill_process(process, Signal::INT)?)
    }

    /// SIGKILL; what was heard until then.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(mut self) -> Result<Vec<Value>> {
        self.child.kill()?;
        self.child.wait()?;
        self.heard.extend(self.events.iter());
        Ok(self.heard)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn end(mut self, deadline: Duration) -> Result<Ended> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("naru did not end within {} s; its last event was {}", deadline.as_secs(), self.last());
            }
            self.heard.extend(self.events.try_iter());
            std::thread::sleep(LOOK_AGAIN);
        };
        self.heard.extend(self.events.iter());
        let stderr = self.stderr.join().unwrap_or_default();
        Ok(Ended { code: status.code(), heard: self.heard, stderr })
    }
}

impl Ended {
    /// The whole of it, for a person.
    pub fn shown(&self) -> String {
        let quiet = |event: &&Value| event["event"] != "stepProgress";
        let events: Vec<String> = self.heard.iter().filter(quiet).map(Value::to_string).collect();
        format!("exit {:?}\n{}\n{}", self.code, events.join("\n"), self.stderr)
    }

    /// # Errors
    /// When the exit code is another.
    pub fn exits(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!("expected exit {code}: {}", self.shown())
    }

    /// Steps with this event, in order.
    pub fn steps(&self, event: &str) -> Vec<String> {
        let of = |one: &&Value| one["event"] == event;
        self.heard.iter().filter(of).filter_map(|one| one["step"].as_str()).map(str::to_owned).collect()
    }
}
