//! Becoming root on a host: by being it, by sudo or by doas, with or without a password. A password goes over stdin
//! (doas reads it from a terminal, so it gets one) and nowhere else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use russh::Pty;
use zeroize::Zeroizing;

use crate::channel::{self, BEGIN, Command, Outcome, PROMPT, Progress};
use crate::error::NotRootReason;
use crate::session::{late, write_all};
use crate::{HostError, Session};

pub(crate) const ROOT: &str = "root";
/// What the host waits for before it reads anything else from stdin.
const GO: &str = "naru-go";
const MISSING: &str = "naru-missing";
const ONLY_DOAS: &str = "naru-only-doas";
const TERMINAL_COLUMNS: u32 = 200;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ElevationMethod {
    /// Sudo where it is, else doas.
    #[default]
    Auto,
    Sudo,
    Doas,
}

/// How a login that is not root becomes root.
#[derive(Clone, Default)]
pub struct Elevation {
    pub method: ElevationMethod,
    pub password: Option<Arc<Zeroizing<String>>>,
}

impl fmt::Debug for Elevation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "***");
        formatter.debug_struct("Elevation").field("method", &self.method).field("password", &password).finish()
    }
}

/// One word for a POSIX shell, whatever is in it.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Elevation {
    /// Starts a shell script as root. The script says `begin` where its stream begins; without a password nothing is
    /// waited for, so the stream may be written to at once.
    pub(crate) async fn start(&self, session: &Session, script: &str, wait: Duration) -> Result<Command, HostError> {
        if session.host().user == ROOT {
            return launch(session, &format!("exec sh -c {}", quoted(&inner(script, Stdin::Free))), false).await;
        }
        match (&self.password, self.method) {
            (None, method) => {
                let command = outer(method, "sudo -n", "exec doas -n -- sh -c \"$1\"", &inner(script, Stdin::Free));
                launch(session, &command, false).await
            }
            (Some(password), ElevationMethod::Doas) => self.by_doas(session, script, password, wait).await,
            (Some(password), method) => {
                let sudo = format!("sudo -S -p {PROMPT}");
                let instead = format!("echo {ONLY_DOAS}");
                let command = outer(method, &sudo, &instead, &inner(script, Stdin::Password));
                let mut command = launch(session, &command, false).await?;
                self.send(session, &mut command, password, wait).await?;
                let progress = command.watch.until(wait, |now| now.has_begun || now.prompts > 1).await;
                let progress = progress.ok_or_else(|| late(session.host(), "sudo", wait))?;
                if !progress.has_begun && command.watch.outcome().text.contains(ONLY_DOAS) {
                    return self.by_doas(session, script, password, wait).await;
                }
                self.go(session, command, progress, wait).await
            }
        }
    }

    async fn by_doas(
        &self,
        session: &Session,
        script: &str,
        password: &Zeroizing<String>,
        wait: Duration,
    ) -> Result<Command, HostError> {
        let doas = "exec doas -- sh -c \"$1\"";
        let command = outer(ElevationMethod::Doas, "", doas, &inner(script, Stdin::Terminal));
        let mut command = launch(session, &command, true).await?;
        // What is typed before the question is thrown away by it.
        let asked = command.watch.until(wait, |now| now.has_begun || now.prompts > 0).await;
        let mut progress = asked.ok_or_else(|| late(session.host(), "doas", wait))?;
        if !progress.has_begun && !progress.has_ended {
            self.send(session, &mut command, password, wait).await?;
            let next = command.watch.until(wait, |now| now.has_begun || now.prompts > 1).await;
            progress = next.ok_or_else(|| late(session.host(), "doas", wait))?;
        }
        self.go(session, command, progress, wait).await
    }

    async fn send(
        &self,
        session: &Session,
        command: &mut Command,
        password: &Zeroizing<String>,
        wait: Duration,
    ) -> Result<(), HostError> {
        let line = Zeroizing::new(format!("{}\n", password.as_str()));
        let sent = write_all(&mut command.stdin, line.as_bytes(), wait).await;
        sent.map(drop).map_err(|_| late(session.host(), "sending the password", wait))
    }

    /// The script runs and waits for our word before it reads.
    async fn go(
        &self,
        session: &Session,
        mut command: Command,
        progress: Progress,
        wait: Duration,
    ) -> Result<Command, HostError> {
        if !progress.has_begun {
            let outcome = command.watch.outcome();
            // A script that ended well had nothing to begin, but something to say.
            if progress.has_ended && outcome.status == Some(0) {
                return Ok(command);
            }
            let wrong = !progress.has_ended;
            return Err(not_root(session, &outcome, wrong.then_some(NotRootReason::WrongPassword)));
        }
        let sent = write_all(&mut command.stdin, format!("{GO}\n").as_bytes(), wait).await;
        sent.map_err(|_| late(session.host(), "starting a command", wait))?;
        Ok(command)
    }
}

async fn launch(session: &Session, command: &str, wants_terminal: bool) -> Result<Command, HostError> {
    let channel = session.channel().await?;
    if wants_terminal {
        let modes = [(Pty::ECHO, 0)];
        let asked = channel.request_pty(false, "dumb", TERMINAL_COLUMNS, 24, 0, 0, &modes).await;
        asked.map_err(|error| session.broken(&error))?;
    }
    // Nobody waits for the host's word that it started: the next thing that it says tells.
    channel.exec(false, command).await.map_err(|error| session.broken(&error))?;
    Ok(channel::run(channel))
}

/// What stdin is when the script begins.
#[derive(Clone, Copy)]
enum Stdin {
    Free,
    /// A password may still stand in it if nobody asked for one.
    Password,
    /// The same on a terminal, which has to become a plain pipe.
    Terminal,
}

fn inner(script: &str, stdin: Stdin) -> String {
    let wait = format!("while IFS= read -r line && [ \"$line\" != {GO} ]; do :; done");
    let (first, begin) = match stdin {
        Stdin::Free => ("", format!("echo {BEGIN}")),
        Stdin::Password => ("", format!("echo {BEGIN}; {wait}")),
        Stdin::Terminal => ("stty raw -echo; exec 2>/dev/null; ", format!("echo {BEGIN}; {wait}")),
    };
    format!("LC_ALL=C; export LC_ALL; {first}begin() {{ {begin}; }}; {script}")
}

/// The command line for the login shell, whichever it is.
fn outer(method: ElevationMethod, sudo: &str, doas: &str, inner: &str) -> String {
    let has = |program: &str| format!("command -v {program} >/dev/null 2>&1");
    let sudo = format!("exec {sudo} -- sh -c \"$1\"");
    let branches = match method {
        ElevationMethod::Auto => format!(
            "if {}; then {sudo}; elif {}; then {doas}; else echo {MISSING} sudo doas; fi",
            has("sudo"),
            has("doas")
        ),
        ElevationMethod::Sudo => format!("if {}; then {sudo}; else echo {MISSING} sudo; fi", has("sudo")),
        ElevationMethod::Doas => format!("if {}; then {doas}; else echo {MISSING} doas; fi", has("doas")),
    };
    format!("exec sh -c {} naru {}", quoted(&format!("LC_ALL=C; export LC_ALL; {branches}")), quoted(inner))
}

/// Words in which sudo and doas refuse, in the C locale.
const REFUSALS: [(&str, NotRootReason); 14] = [
    (MISSING, NotRootReason::Missing),
    ("you must have a tty", NotRootReason::TerminalRequired),
    ("a password is required", NotRootReason::PasswordRequired),
    ("a terminal is required", NotRootReason::PasswordRequired),
    ("Authentication required", NotRootReason::PasswordRequired),
    ("no password was provided", NotRootReason::WrongPassword),
    ("incorrect password", NotRootReason::WrongPassword),
    ("Sorry, try again", NotRootReason::WrongPassword),
    ("Authentication failed", NotRootReason::WrongPassword),
    ("Authorization failed", NotRootReason::WrongPassword),
    ("not in the sudoers file", NotRootReason::NotAllowed),
    ("not allowed to", NotRootReason::NotAllowed),
    ("may not run sudo", NotRootReason::NotAllowed),
    ("Operation not permitted", NotRootReason::NotAllowed),
];

/// Why a script did not even begin.
pub(crate) fn not_root(session: &Session, outcome: &Outcome, known: Option<NotRootReason>) -> HostError {
    let (host, user) = (session.host().name.clone(), session.host().user.clone());
    let output = format!("{}{}", outcome.text, outcome.stderr);
    if outcome.status.is_none() && known.is_none() {
        return HostError::Broken { host, reason: format!("the connection ended before a command began\n{output}") };
    }
    if user == ROOT {
        let status = outcome.status.unwrap_or(u32::MAX);
        return HostError::Command { host, command: "sh".to_owned(), status, output };
    }
    let told = REFUSALS.iter().find(|(words, _)| output.contains(words)).map(|(_, reason)| *reason);
    HostError::NotRoot { host, user, reason: known.or(told).unwrap_or(NotRootReason::Other), output }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_survives_the_shell() {
        let word = "a 'b' $c `d` \"e\" \\f";
        let echoed = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
        assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), word);
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = Some(Arc::new(Zeroizing::new("hunter2".to_owned())));
        let elevation = Elevation { password, ..Elevation::default() };
        assert!(!format!("{elevation:?}").contains("hunter2"));
    }

    #[test]
    fn command_lines_are_shell() {
        for stdin in [Stdin::Free, Stdin::Password, Stdin::Terminal] {
            let inner = inner("if true; then begin; exec 'a b' c; fi; echo 'no'", stdin);
            for method in [ElevationMethod::Auto, ElevationMethod::Sudo, ElevationMethod::Doas] {
                let line = outer(method, "sudo -n", "exec doas -n -- sh -c \"$1\"", &inner);
                for text in [&line, &inner] {
                    let checked = std::process::Command::new("sh").args(["-n", "-c", text]).status().unwrap();
                    assert!(checked.success(), "{text}");
                }
            }
        }
    }
}
