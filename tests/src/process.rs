//! Running a program and looking at what it said.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What a finished program left.
#[derive(Debug)]
pub struct Output {
    pub shown: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// # Errors
    /// When the program failed, with all it said.
    pub fn ok(self) -> Result<String> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        bail!("{}: exit {:?}\n{}{}", self.shown, self.code, self.stdout, self.stderr)
    }

    /// # Errors
    /// When the exit code is another.
    pub fn exits(self, code: i32) -> Result<String> {
        if self.code == Some(code) {
            return Ok(self.stdout + &self.stderr);
        }
        bail!("{}: exit {:?}, expected {code}\n{}{}", self.shown, self.code, self.stdout, self.stderr)
    }
}

/// Runs to the end, or kills at the deadline.
///
/// # Errors
/// When the program cannot be started or does not end in time.
pub fn command(command: &mut Command, input: Option<&str>, deadline: Duration) -> Result<Output> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // A pipe of a killed child ends like any other.
            let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            let said = stdout.join().unwrap_or_default() + &stderr.join().unwrap_or_default();
            bail!("{shown}: not done within {} s\n{said}", deadline.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Output { shown, code: status.code(), stdout: text(stdout), stderr: text(stderr) })
}
