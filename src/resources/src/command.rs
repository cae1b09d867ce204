//! Running a program of the host: found by our own search path, without a shell, with a deadline, output kept within
//! a bound. Its stdin is empty, since ours carries the agent protocol.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Host, ResourceError};

/// Programs that only ask or set something.
pub(crate) const SHORT_DEADLINE: Duration = Duration::from_secs(60);
const MAX_OUTPUT_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 16 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
/// A service started by a package's script may keep our pipe open; after the program itself ended we wait this long.
const STRAGGLER_DEADLINE: Duration = Duration::from_secs(2);
/// Ends at most this many lines of output that go into an error.
const ERROR_LINES: usize = 30;

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub success: bool,
    pub status: String,
    pub stdout: String,
    pub stderr: String,
}

/// One run of a program.
#[derive(Debug)]
pub struct Program<'a> {
    host: &'a Host,
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    deadline: Duration,
    output_limit_bytes: usize,
}

impl<'a> Program<'a> {
    #[must_use]
    pub fn new(host: &'a Host, name: &str) -> Self {
        Self {
            host,
            name: name.to_owned(),
            arguments: Vec::new(),
            environment: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
            deadline: SHORT_DEADLINE,
            output_limit_bytes: MAX_OUTPUT_BYTES,
        }
    }

    #[must_use]
    pub fn arguments<S: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How much of its output is kept, counted from the beginning.
    #[must_use]
    pub fn output_limit_bytes(mut self, bytes: usize) -> Self {
        self.output_limit_bytes = bytes;
        self
    }

    fn line(&self) -> String {
        let mut words = vec![self.name.clone()];
        words.extend(self.arguments.iter().cloned());
        words.join(" ")
    }

    /// Runs it; ending with an error status is an error.
    pub fn run(self) -> Result<Output, ResourceError> {
        let command = self.line();
        let output = self.output()?;
        if output.success {
            return Ok(output);
        }
        Err(ResourceError::CommandFailed { command, status: output.status.clone(), output: last_lines(&output) })
    }

    /// Runs it; the caller judges the status.
    pub fn output(self) -> Result<Output, ResourceError> {
        let program = self
            .host
            .program(&self.name)
            .ok_or_else(|| ResourceError::ProgramMissing { program: self.name.clone() })?;
        let line = self.line();
        let mut child = Command::new(&program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = Collector::start(child.stdout.take(), self.output_limit_bytes);
        let stderr = Collector::start(child.stderr.take(), self.output_limit_bytes);
        let status = wait(&mut child, self.deadline)?;
        let (stdout, stderr) = (stdout.finish(), stderr.finish());
        let Some(status) = status else {
            return Err(ResourceError::CommandTimedOut {
                command: line,
                deadline_seconds: self.deadline.as_secs(),
                output: format!("{stdout}{stderr}"),
            });
        };
        Ok(Output { success: status.success(), status: status.to_string(), stdout, stderr })
    }
}

/// `None`: the deadline passed and the program was killed.
fn wait(child: &mut Child, deadline: Duration) -> Result<Option<ExitStatus>, ResourceError> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    while started.elapsed() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn last_lines(output: &Output) -> String {
    let text = format!("{}\n{}", output.stdout, output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n")
}

/// Reads a pipe in a thread of its own, so that a talkative program never blocks on it.
struct Collector {
    chunks: mpsc::Receiver<Vec<u8>>,
}

impl Collector {
    fn start(pipe: Option<impl Read + Send + 'static>, limit_bytes: usize) -> Self {
        let (sender, chunks) = mpsc::channel();
        if let Some(mut pipe) = pipe {
            thread::spawn(move || {
                let mut buffer = vec![0_u8; READ_BYTES];
                let mut kept_bytes = 0;
                while let Ok(count) = pipe.read(&mut buffer) {
                    if count == 0 {
                        break;
                    }
                    kept_bytes += count;
                    // Beyond the bound the pipe is still drained, or the program would hang.
                    if kept_bytes <= limit_bytes && sender.send(buffer[..count].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Self { chunks }
    }

    fn finish(self) -> String {
        let ended = Instant::now();
        let mut bytes = Vec::new();
        while let Ok(chunk) = self.chunks.recv_timeout(STRAGGLER_DEADLINE.saturating_sub(ended.elapsed())) {
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<Output, ResourceError> {
        Program::new(&Host::local(), "sh").arguments(["-c", script]).deadline(deadline).output()
    }

    #[test]
    fn output_and_status_come_back() {
        let output = shell("echo out; echo err >&2; exit 3", SHORT_DEADLINE).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert!(!output.success);
        assert!(output.status.contains('3'), "{}", output.status);
    }

    #[test]
    fn a_deadline_stops_the_program() {
        let started = Instant::now();
        let error = shell("exec sleep 30", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ResourceError::CommandTimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_straggler_that_keeps_the_pipe_does_not_hold_us() {
        let started = Instant::now();
        let output = shell("echo done; sleep 20 & exit 0", SHORT_DEADLINE).unwrap();
        assert_eq!(output.stdout, "done\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn much_output_is_cut_and_does_not_block() {
        let output = shell("head -c 3000000 /dev/zero", SHORT_DEADLINE).unwrap();
        assert!(output.success);
        assert!(output.stdout.len() <= MAX_OUTPUT_BYTES);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new(&Host::local(), "naru-no-such-program").run().unwrap_err();
        assert!(matches!(error, ResourceError::ProgramMissing { .. }));
    }
}
