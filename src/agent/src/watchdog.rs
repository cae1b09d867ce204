//! Watchers over changes that wait to be confirmed: a process of their own, so that they outlive the agent and the SSH
//! connection, or a thread where the agent lives inside another program.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use naru_resources::{Host, Program, ResourceError, revert, write_whole};

const INSTALLED: &str = "/opt/naru/bin/naru-node";
const SYSTEMD_RUNS: &str = "/run/systemd/system";
const SYSTEMD_DEADLINE: Duration = Duration::from_secs(5);
/// So long a watcher may take to begin.
const BEGIN_DEADLINE: Duration = Duration::from_secs(10);
const BEGIN_PAUSE: Duration = Duration::from_millis(5);
/// Puts changes back when the host is started anew inside the window.
const BOOT_UNIT: &str = "/etc/systemd/system/naru-revert.service";
const BOOT_WANTED: &str = "/etc/systemd/system/multi-user.target.wants/naru-revert.service";
/// Instead of an id: everything that is due.
pub const ALL: &str = "all";

/// How watchers are started.
#[derive(Debug, Clone)]
pub(crate) enum Watchdog {
    /// As `PROGRAM agent revert ID SECONDS`.
    Program(PathBuf),
    Thread,
}

impl Watchdog {
    /// For an agent inside another program: the installed one, if there is one.
    pub(crate) fn inside(host: &Host) -> Self {
        let installed = host.path(INSTALLED);
        if host.is_local() && installed.is_file() { Self::Program(installed) } else { Self::Thread }
    }

    /// For a program that is the agent itself.
    pub(crate) fn own() -> Self {
        std::env::current_exe().map_or(Self::Thread, Self::Program)
    }

    /// Has somebody watch this change, and makes sure that he does.
    pub(crate) fn watch(&self, host: &Host, id: &str) -> Result<(), ResourceError> {
        match self {
            Self::Program(program) => {
                let mut arguments = vec!["agent".to_owned(), "revert".to_owned(), id.to_owned()];
                if !host.is_local() {
                    arguments.extend(["--root".to_owned(), host.path("/").display().to_string()]);
                }
                prepare_boot(host, program)?;
                if !by_systemd(host, program, id, &arguments) {
                    detach(program, &arguments)?;
                }
            }
            Self::Thread => {
                let (host, id) = (host.clone(), id.to_owned());
                std::thread::spawn(move || report(&revert::watch(&host, &id, || {})));
            }
        }
        let started = Instant::now();
        while !revert::is_watched(host, id) {
            if started.elapsed() > BEGIN_DEADLINE {
                return Err(ResourceError::Refused {
                    message: "nothing is changed: no watcher began that would put it back".to_owned(),
                    hint: "`naru-node agent revert` on the host tells why".to_owned(),
                });
            }
            std::thread::sleep(BEGIN_PAUSE);
        }
        Ok(())
    }

    /// Puts back what is due from before, and has the rest watched again.
    pub(crate) fn resume(&self, host: &Host) {
        match revert::resume(host) {
            Ok(unwatched) => {
                for id in unwatched {
                    report(&self.watch(host, &id).map(|()| Vec::new()));
                }
            }
            Err(error) => report(&Err(error)),
        }
        tidy_boot(host);
    }
}

/// What `agent revert ID` does: a process of its own session watches one change, or puts back all that are due.
pub fn run_watcher(host: &Host, id: &str) -> Result<(), ResourceError> {
    // Away from the terminal and the group of whoever started it; it may be that already.
    let _ = rustix::process::setsid();
    if id == ALL {
        revert::resume(host)?;
    } else {
        revert::watch(host, id, || {})?;
    }
    tidy_boot(host);
    Ok(())
}

/// A service of its own survives also where logging out kills everything that a user started.
fn by_systemd(host: &Host, program: &std::path::Path, id: &str, arguments: &[String]) -> bool {
    if !host.is_local() || !host.path(SYSTEMD_RUNS).exists() {
        return false;
    }
    let started = Program::new(host, "systemd-run")
        .arguments(["--quiet", "--collect", "--no-ask-password"])
        .arguments([format!("--unit=naru-revert-{id}")])
        .arguments(["--".to_owned(), program.display().to_string()])
        .arguments(arguments)
        .deadline(SYSTEMD_DEADLINE)
        .run();
    started.is_ok()
}

fn detach(program: &std::path::Path, arguments: &[String]) -> Result<(), ResourceError> {
    let mut child: Child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Only so that it is no zombie while this agent lives.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// A start of the host ends every watcher; the next one then puts everything back before anybody can reach an agent.
fn prepare_boot(host: &Host, program: &std::path::Path) -> Result<(), ResourceError> {
    if !host.path(SYSTEMD_RUNS).exists() {
        return Ok(());
    }
    let text = format!(
        "# Written by naru while a change waits to be confirmed.\n[Unit]\nDescription=Put back changes that nobody \
         confirmed\nAfter=local-fs.target\n\n[Service]\nType=oneshot\nExecStart={} agent revert {ALL}\n",
        program.display()
    );
    write_whole(&host.path(BOOT_UNIT), 0o644, text.as_bytes())?;
    let wanted = host.path(BOOT_WANTED);
    if fs::symlink_metadata(&wanted).is_err() {
        if let Some(folder) = wanted.parent() {
            fs::create_dir_all(folder)?;
        }
        std::os::unix::fs::symlink(BOOT_UNIT, &wanted)?;
    }
    Ok(())
}

pub(crate) fn tidy_boot(host: &Host) {
    if revert::pending(host).is_empty() {
        for path in [BOOT_WANTED, BOOT_UNIT] {
            let _ = fs::remove_file(host.path(path));
        }
    }
}

fn report(outcome: &Result<Vec<naru_resources::Change>, ResourceError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "a change could not be put back");
    }
}
