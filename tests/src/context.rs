//! One cluster under test: its inventory, kubeconfig and machines, all in a folder of its own, under a name of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use naru_machines::local::{Config, Local};
use naru_machines::{Machine, Provider};
use serde_json::Value;

use crate::process::{Output, command};
use crate::running::Running;
use crate::say;

const NARU_DEADLINE: Duration = Duration::from_secs(300);
const KUBECTL_DEADLINE: Duration = Duration::from_secs(120);
/// kubectl of Debian 12, the oldest that must work; extracted, as it cannot be installed beside a newer one.
pub const KUBECTL_OLD: &str = "kubernetes-client=1.20.5+really1.20.2-1.1+deb12u1";

pub struct Context {
    programs: PathBuf,
    pub folder: PathBuf,
    pub inventory: PathBuf,
    /// Name of the cluster and first part of its machines' names.
    pub name: String,
    kubectl: PathBuf,
    pub machines: Local,
}

impl Context {
    /// A context over the programs that `cargo xtask` built.
    ///
    /// # Errors
    /// When the programs are not there.
    pub fn new(name: &str) -> Result<Self> {
        let programs = PathBuf::from(std::env::var_os("NARU_PROGRAMS").context("run this by `cargo xtask e2e`")?);
        ensure!(programs.join("naru").is_file(), "no naru in {}", programs.display());
        let folder = std::env::temp_dir().join(format!("naru-e2e-{name}"));
        fs_err::create_dir_all(folder.join("home/.ssh"))?;
        let inventory = folder.join("cluster.yaml");
        let machines = Local::new(Config::from_environment());
        Ok(Self { programs, folder, inventory, name: name.to_owned(), kubectl: "kubectl".into(), machines })
    }

    /// The same without what an earlier run left in its folder.
    ///
    /// # Errors
    /// When the programs are not there or the folder cannot be made anew.
    pub fn fresh(name: &str) -> Result<Self> {
        let context = Self::new(name)?;
        fs_err::remove_dir_all(&context.folder)?;
        Self::new(name)
    }

    /// Where the three programs lie.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The same cluster driven by another kubectl.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn with_old_kubectl(&self) -> Result<Self> {
        let mut other = Self::new(&self.name)?;
        other.inventory.clone_from(&self.inventory);
        other.kubectl = old_kubectl()?;
        Ok(other)
    }

    /// The top of the checkout.
    pub fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies below the top").to_owned()
    }

    /// The home folder of the operator in these tests.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub fn naru_command(&self, arguments: &[&str]) -> Command {
        let mut naru = Command::new(self.programs.join("naru"));
        naru.args(arguments).current_dir(&self.folder).env("XDG_STATE_HOME", self.folder.join("state"));
        // The keys, agents and known hosts of whoever runs the tests are not part of them.
        naru.env("HOME", self.home()).env_remove("SSH_AUTH_SOCK").env_remove("NARU_LOG");
        naru
    }

    /// # Errors
    /// When naru cannot be run to an end.
    pub fn naru(&self, arguments: &[&str]) -> Result<Output> {
        command(&mut self.naru_command(arguments), None, NARU_DEADLINE)
    }

    /// Runs naru with further variables in its environment.
    ///
    /// # Errors
    /// When naru cannot be run to an end.
    pub fn naru_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
        let mut naru = self.naru_command(arguments);
        naru.envs(environment.iter().copied());
        command(&mut naru, None, NARU_DEADLINE)
    }

    /// Starts `naru apply` of the inventory, which tells its events as they come.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_apply(&self) -> Result<Running> {
        Running::start(&mut self.naru_command(&["apply", "cluster.yaml", "--yes", "-o", "json"]))
    }

    /// Applies the inventory until its end.
    ///
    /// # Errors
    /// When naru does not end with success.
    pub fn apply(&self) -> Result<String> {
        let output = self.naru(&["apply", "cluster.yaml", "--yes"])?;
        let stderr = output.stderr.clone();
        output.ok().map(|stdout| stdout + &stderr)
    }

    /// Says that nothing is left to do.
    ///
    /// # Errors
    /// When something is.
    pub fn nothing_to_do(&self) -> Result<()> {
        let said = self.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(0)?;
        ensure!(said.to_lowercase().contains("nothing to do"), "the plan says:\n{said}");
        Ok(())
    }

    /// The plan as data.
    ///
    /// # Errors
    /// When naru makes none.
    pub fn saved_plan(&self) -> Result<Value> {
        let file = self.folder.join("plan.json");
        if file.exists() {
            fs_err::remove_file(&file)?;
        }
        self.naru(&["plan", "cluster.yaml", "-o", "plan.json"])?.ok()?;
        Ok(serde_json::from_str(&fs_err::read_to_string(file)?)?)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Asks naru for a kubeconfig and keeps it for kubectl.
    ///
    /// # Errors
    /// When naru gives none.
    pub fn fetch_kubeconfig(&self) -> Result<()> {
        let text = self.naru(&["kubeconfig", "cluster.yaml"])?.ok()?;
        Ok(fs_err::write(self.kubeconfig(), text)?)
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // Its discovery cache must not outlive the cluster.
        kubectl.env("HOME", &self.folder).current_dir(Self::root());
        kubectl
    }

    /// kubectl's answer.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command(&mut self.kubectl_command(arguments), None, KUBECTL_DEADLINE)?.ok()
    }

    /// Runs kubectl with a document on its standard input.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        command(&mut self.kubectl_command(arguments), Some(input), KUBECTL_DEADLINE)?.ok()
    }

    /// An object or list as JSON.
    ///
    /// # Errors
    /// When kubectl fails or says something else.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {arguments:?} said no JSON"))
    }

    /// How many nodes are Ready.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn ready_nodes(&self) -> Result<usize> {
        let nodes = self.get(&["nodes"])?;
        let ready = |node: &&Value| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        Ok(nodes["items"].as_array().into_iter().flatten().filter(ready).count())
    }

    /// The machines of this cluster.
    ///
    /// # Errors
    /// When their state cannot be read.
    pub fn hosts(&self) -> Result<Vec<Machine>> {
        Ok(self.machines.list(&self.name)?)
    }

    /// One machine by its host name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn host(&self, host: &str) -> Result<Machine> {
        self.hosts()?.into_iter().find(|machine| machine.host == host).with_context(|| format!("no machine {host}"))
    }

    /// Runs a shell command on a machine.
    ///
    /// # Errors
    /// When it fails.
    pub fn on(&self, host: &str, script: &str) -> Result<String> {
        let machine = self.host(host)?;
        command(self.machines.ssh(&machine).arg(script), None, KUBECTL_DEADLINE)?.ok()
    }

    /// Says what a person would look at first.
    pub fn diagnose(&self) {
        for arguments in [
            &["get", "nodes,pods", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
        ] {
            if !self.kubeconfig().exists() {
                break;
            }
            let said = self.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
            say(&tail(&said, 40));
        }
        for machine in self.hosts().unwrap_or_default() {
            for unit in ["naru-control-plane", "naru-node"] {
                let script = format!("journalctl -u {unit} -n 25 --no-pager -o cat");
                let said = self.on(&machine.host, &script).unwrap_or_else(|error| format!("{error:#}"));
                say(&format!("--- {} {unit}\n{}", machine.host, tail(&said, 25)));
            }
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Debian 12's kubectl, downloaded by apt and unpacked once.
fn old_kubectl() -> Result<PathBuf> {
    let folder = Config::from_environment().cache.join("kubectl-1.20");
    let program = folder.join("usr/bin/kubectl");
    if !program.is_file() {
        fs_err::create_dir_all(&folder)?;
        let deadline = Duration::from_secs(180);
        command(Command::new("apt-get").arg("update"), None, deadline)?.ok()?;
        command(Command::new("apt-get").args(["download", KUBECTL_OLD]).current_dir(&folder), None, deadline)?.ok()?;
        let package = fs_err::read_dir(&folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")?;
        command(Command::new("dpkg").arg("-x").arg(package).arg(&folder), None, deadline)?.ok()?;
    }
    Ok(program)
}
