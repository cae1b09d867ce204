//! Running programs of the host, with errors that show the command and the end of what it said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Error, Result};

/// How much of a program's standard error goes into an error.
const STDERR_LINES: usize = 20;

/// Runs a command to its end; an exit status other than 0 is an error. Returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))?;
    finish(command, output)
}

/// Like [`run`], with `input` on standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(command, &error))?;
    let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
    // A program that stops reading early says why on standard error: that is the better message.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    finish(command, output)
}

/// Shorthand for `ip ARGUMENTS`.
pub(crate) fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments))
}

/// The file of a program on the PATH or in the folders of system programs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Error {
    failure(command, "cannot start".to_owned(), error.to_string())
}

fn finish(command: &Command, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(STDERR_LINES)..].join("\n");
    Err(failure(command, output.status.to_string(), tail))
}

fn failure(command: &Command, status: String, stderr: String) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let words: Vec<String> = std::iter::once(program.clone())
        .chain(command.get_args().map(|argument| argument.to_string_lossy().into_owned()))
        .collect();
    Error::Command { program, status, stderr, command: words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_command_and_standard_error() {
        let error = run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("sh -c"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input(&mut Command::new("cat"), "boat").unwrap(), "boat");
    }

    #[test]
    fn programs_are_found_only_where_they_are() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-of-naru").is_none());
    }
}
