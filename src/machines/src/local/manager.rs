//! Who looks after a machine's processes. Where systemd is PID 1, each machine is a transient service with a delegated
//! control group, and registers with machined; elsewhere (containers, CI) a detached launcher in control groups of our
//! making. This file is the whole difference.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cgroups::{self, Hierarchy};
use crate::Result;
use crate::command::run;

const LAUNCH: &str = include_str!("launch.sh");

/// How processes of machines are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// systemd is PID 1: `naru-machine-NAME.service` in `machine.slice`.
    Systemd,
    /// Anything else: `naru/NAME` in every hierarchy.
    Bare,
}

/// What the launcher is told.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) name: &'a str,
    pub(super) overlay: String,
    pub(super) root: &'a Path,
    pub(super) console: &'a Path,
    /// The pinned network namespace.
    pub(super) network: PathBuf,
    /// Arguments of systemd-nspawn that are the same everywhere.
    pub(super) arguments: Vec<String>,
}

impl Launch<'_> {
    /// The launcher in its namespaces. In the machine's network already, or nspawn would mount a `/sys` that shows
    /// the interfaces of this computer.
    fn wrapper(&self) -> [String; 10] {
        let network = format!("--net={}", self.network.display());
        ["nsenter", &network, "unshare", "--mount", "--propagation", "slave", "sh", "-c", LAUNCH, "launch"]
            .map(str::to_owned)
    }
}

impl Manager {
    pub(super) fn of_this_computer() -> Self {
        if Path::new("/run/systemd/system").is_dir() { Self::Systemd } else { Self::Bare }
    }

    fn relative_group(self, name: &str) -> PathBuf {
        match self {
            Self::Systemd => Path::new("machine.slice").join(format!("naru-machine-{name}.service")),
            Self::Bare => Path::new("naru").join(name),
        }
    }

    /// The control groups of a machine, whether they exist or not.
    pub(super) fn groups(self, name: &str) -> Result<Vec<PathBuf>> {
        let relative = self.relative_group(name);
        Ok(cgroups::hierarchies()?.into_iter().map(|hierarchy| hierarchy.path.join(&relative)).collect())
    }

    /// Starts a machine; it outlives this process.
    pub(super) fn launch(self, launch: &Launch<'_>) -> Result<()> {
        match self {
            Self::Systemd => launch_as_service(launch),
            Self::Bare => self.launch_detached(launch),
        }
    }

    fn launch_detached(self, launch: &Launch<'_>) -> Result<()> {
        let hierarchies = cgroups::hierarchies()?;
        let relative = self.relative_group(launch.name);
        let groups = hierarchies.iter().map(|h| cgroups::ensure_group(h, &relative)).collect::<Result<Vec<_>>>()?;
        let groups: Vec<_> = groups.iter().map(|group| group.to_string_lossy()).collect();
        let log = fs_err::OpenOptions::new().create(true).append(true).open(launch.console)?;
        // The launcher survives the terminal: a session of its own, nothing inherited but the log.
        let mut command = Command::new("setsid");
        command.args(launch.wrapper());
        command.args(["--register=no", "--keep-unit"]).args(&launch.arguments);
        command.env("NARU_CGROUPS", groups.join(" ")).env("NARU_LOOP", "yes");
        command.envs(environment(launch, &hierarchies)).env_remove("NOTIFY_SOCKET").current_dir("/");
        command.stdin(Stdio::null()).stdout(log.file().try_clone()?).stderr(log.into_file());
        let mut child = command.spawn()?;
        // Someone must look when it ends, or a caller that lives long collects zombies.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Forgets a machine whose processes are gone.
    pub(super) fn release(self, name: &str) -> Result<()> {
        match self {
            Self::Systemd => {
                // Fails when the unit has gone by itself, which is what is wanted.
                let _ =
                    run(Command::new("systemctl").args(["stop", "--quiet", &format!("naru-machine-{name}.service")]));
                Ok(())
            }
            Self::Bare => {
                cgroups::remove(&self.groups(name)?, name)?;
                for hierarchy in cgroups::hierarchies()? {
                    // Stays as long as another machine is in it.
                    let _ = fs_err::remove_dir(hierarchy.path.join("naru"));
                }
                Ok(())
            }
        }
    }
}

/// systemd starts the launcher again when nspawn says by exit status 133 that the machine reboots.
fn launch_as_service(launch: &Launch<'_>) -> Result<()> {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--slice=machine.slice", "--service-type=simple"]);
    command.arg(format!("--unit=naru-machine-{}.service", launch.name));
    for property in ["Delegate=yes", "KillMode=mixed", "TasksMax=infinity"] {
        command.arg(format!("--property={property}"));
    }
    command.args(["--property=RestartForceExitStatus=133", "--property=SuccessExitStatus=133"]);
    for stream in ["StandardOutput", "StandardError"] {
        command.arg(format!("--property={stream}=append:{}", launch.console.display()));
    }
    for (name, value) in environment(launch, &cgroups::hierarchies()?) {
        command.arg(format!("--setenv={name}={value}"));
    }
    command.args(["--setenv=NARU_LOOP=no", "--setenv=NARU_CGROUPS="]);
    command.args(launch.wrapper());
    command.args(["--register=yes", "--keep-unit"]).args(&launch.arguments);
    run(&mut command).map(drop)
}

fn environment(launch: &Launch<'_>, hierarchies: &[Hierarchy]) -> [(&'static str, String); 4] {
    // A machine sees the layout of this computer: unified only where there is nothing else.
    let unified = hierarchies.iter().all(|hierarchy| hierarchy.unified);
    [
        ("NARU_MACHINE", launch.name.to_owned()),
        ("NARU_OVERLAY", launch.overlay.clone()),
        ("NARU_ROOT", launch.root.to_string_lossy().into_owned()),
        ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", u8::from(unified).to_string()),
    ]
}
