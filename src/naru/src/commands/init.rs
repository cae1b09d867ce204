//! `naru init`: writes a commented inventory that apply takes as it is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fs_err as fs;

use super::tell;
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// Machines that exist, reached by SSH.
    Ssh,
    /// Machines made on this computer.
    Local,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where machines come from.
    #[arg(long, value_enum)]
    provider: Option<Provider>,
    /// A machine as [USER@]ADDRESS[:PORT]; the first becomes the control plane. Repeat for more.
    #[arg(long = "host", value_name = "USER@ADDR")]
    hosts: Vec<String>,
    /// The cluster's name.
    #[arg(long, default_value = "naru")]
    name: String,
    /// Private key for the hosts.
    #[arg(long, value_name = "PATH")]
    key: Option<String>,
    /// Ask each host for its key now and pin it in the inventory; compare the fingerprints that are shown.
    #[arg(long)]
    accept_new_host_keys: bool,
    /// The file to write; `-` for standard output.
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
}

struct Target {
    user: Option<String>,
    address: String,
    port: Option<u16>,
    host_key: Option<String>,
}

impl Init {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let provider = self.provider(terminal)?;
        let text = match provider {
            Provider::Local => local(&self.name),
            Provider::Ssh => {
                let mut targets = self.hosts.iter().map(|host| target(host)).collect::<Result<Vec<_>, _>>()?;
                if targets.is_empty() {
                    return Err(
                        Failure::user("no machines are named").hint("--host root@10.0.0.11 --host root@10.0.0.21 …")
                    );
                }
                if self.accept_new_host_keys {
                    for target in &mut targets {
                        let key = crate::fleet::host_key(&target.address, target.port.unwrap_or(22)).await?;
                        tell(&format!("{}: {}\n", target.address, key));
                        target.host_key = Some(key);
                    }
                }
                ssh(&self.name, self.key.as_deref(), &targets)
            }
        };
        // What is written is what apply would read: an address that is none is told now.
        naru_inventory::parse(&self.file.to_string_lossy(), &text)?;
        self.write(&text)
    }

    fn provider(&self, terminal: Terminal) -> Result<Provider, Failure> {
        if let Some(provider) = self.provider {
            return Ok(provider);
        }
        if !self.hosts.is_empty() {
            return Ok(Provider::Ssh);
        }
        if !terminal.can_ask {
            return Err(
                Failure::user("where do machines come from?").hint("--provider local, or --provider ssh --host …")
            );
        }
        tell("Where do machines come from?\n  1  this computer makes them (local)\n  2  they exist, by SSH\n[1] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|error| Failure::because("no answer", &error))?;
        match answer.trim() {
            "" | "1" | "local" => Ok(Provider::Local),
            "2" | "ssh" => Ok(Provider::Ssh),
            other => Err(Failure::user(format!("`{other}` is neither 1 nor 2"))),
        }
    }

    fn write(&self, text: &str) -> Result<Exit, Failure> {
        if self.file.as_os_str() == "-" {
            return super::print(text);
        }
        let mut options = fs::OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let written = options.open(&self.file).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::user(format!("{} exists already", self.file.display())).hint("--force replaces it")
            }
            _ => Failure::user(error.to_string()),
        })?;
        tell(&format!("Wrote {0}. Next: naru apply {0}\n", self.file.display()));
        Ok(Exit::Done)
    }
}

fn target(text: &str) -> Result<Target, Failure> {
    let (user, rest) = match text.split_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (address, port) = match rest.split_once(':') {
        Some((address, port)) => {
            let port = port.parse().map_err(|_| Failure::user(format!("`{port}` in `{text}` is not a port")))?;
            (address, Some(port))
        }
        None => (rest, None),
    };
    Ok(Target { user, address: address.to_owned(), port, host_key: None })
}

fn head(name: &str) -> String {
    format!(
        "# A Naru cluster. `naru plan` shows what would change, `naru apply` makes it so.\n\
         # All fields: `naru schema`.\n\
         apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {name}\nspec:\n"
    )
}

const NETWORK: &str = "  # network:                      # these are the defaults; change what meets your own networks
  #   podCIDR: 10.244.0.0/16
  #   serviceCIDR: 10.96.0.0/16
  #   domain: cluster.local
";

fn local(name: &str) -> String {
    format!(
        "{}{NETWORK}  # Machines on this computer, made out of systemd-nspawn.\n  machines:\n    provider: local\n    \
         image: debian-13              # or debian-12\n    groups:\n      \
         - {{name: cp, role: control-plane, count: 1}}\n      \
         - {{name: w, role: worker, count: 2}}    # also: labels: {{disk: ssd}}\n",
        head(name)
    )
}

fn ssh(name: &str, key: Option<&str>, targets: &[Target]) -> String {
    let user = targets.iter().find_map(|target| target.user.as_deref()).unwrap_or("root");
    let mut text = head(name);
    let _ = writeln!(text, "  ssh:\n    user: {user}                    # root, or one with sudo and no password");
    match key {
        Some(key) => {
            let _ = writeln!(text, "    keyPath: {key}");
        }
        None => text.push_str("    # keyPath: ~/.ssh/id_ed25519  # default: the SSH agent, then the usual files\n"),
    }
    text.push_str(NETWORK);
    text.push_str(
        "  # Host keys are looked up in ~/.ssh/known_hosts, unless `hostKey: ssh-ed25519 AAAA…` pins one here.\n",
    );
    text.push_str("  hosts:\n");
    for (index, target) in targets.iter().enumerate() {
        let (name, role) =
            if index == 0 { ("cp1".to_owned(), "control-plane") } else { (format!("w{index}"), "worker") };
        let _ = write!(text, "    - {{name: {name}, role: {role}, address: {}", target.address);
        if let Some(other) = target.user.as_deref().filter(|other| *other != user) {
            let _ = write!(text, ", user: {other}");
        }
        if let Some(port) = target.port {
            let _ = write!(text, ", port: {port}");
        }
        if let Some(key) = &target.host_key {
            let _ = write!(text, ", hostKey: \"{key}\"");
        }
        text.push_str("}\n");
    }
    text.push_str("    # also: labels: {disk: ssd}, taints: [{key: gpu, value: a, effect: NoSchedule}]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_whole_inventory() {
        naru_inventory::parse("x", &local("naru")).unwrap();
        let targets = ["admin@10.0.0.1", "10.0.0.2:2222", "root@10.0.0.3"].map(|text| target(text).unwrap());
        let inventory = naru_inventory::parse("x", &ssh("naru", Some("~/key"), &targets)).unwrap();
        assert_eq!(inventory.spec.ssh.user.as_deref(), Some("admin"));
        assert_eq!(inventory.spec.hosts[1].port, Some(2222));
        assert_eq!(inventory.spec.hosts[2].user.as_deref(), Some("root"));
        assert_eq!(inventory.control_planes().count(), 1);
        assert!(target("a:b").is_err());
    }
}
