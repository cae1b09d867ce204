//! The way to a host: what the inventory says, then the operator's `~/.ssh/config`, then what is usual.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_agent::Host as AgentHost;
use naru_hosts::{
    AgentProgram, Connection, Credentials, Deadlines, Dialer, Elevation, ElevationMethod, HostAddress, HostConfig,
    HostError, HostKeyPolicy, HostLink, Jump, Route, SshConfig,
};
use naru_inventory::{Bastion, Become, BecomeMethod, Connection as Kind, Host, Inventory, Ssh};
use naru_observe::{Problem, ProblemKind};

use super::secrets::Secrets;

const SSH_PORT: u16 = 22;
/// More bastions in a row than anybody has.
const MAX_BASTIONS: usize = 8;
const USUAL_KEYS: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];
const USUAL_CONFIG: &str = "~/.ssh/config";
const USUAL_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"];
const NONE: &str = "none";
const MIN_LOGIN: Duration = Duration::from_secs(20);

pub(super) enum Way {
    Ssh(HostLink),
    /// The agent in this process.
    Local {
        name: String,
        host: AgentHost,
    },
    #[cfg(test)]
    Made(Box<dyn Fn() -> Connection + Send + Sync>),
}

impl Way {
    pub(super) async fn open(&self) -> Result<Connection, HostError> {
        match self {
            Self::Ssh(link) => link.agent().await,
            Self::Local { name, host } => Ok(Connection::local(name, host.clone())),
            #[cfg(test)]
            Self::Made(make) => Ok(make()),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ssh(link) => &link.route().host.name,
            Self::Local { name, .. } => name,
            #[cfg(test)]
            Self::Made(_) => "made",
        }
    }

    pub(super) fn hang_up(&self) {
        if let Self::Ssh(link) = self {
            link.hang_up();
        }
    }
}

/// What all ways of a run have in common.
pub(super) struct Ways {
    pub(super) dialer: Arc<Dialer>,
    pub(super) program: Arc<AgentProgram>,
    pub(super) config: SshConfig,
    pub(super) secrets: Secrets,
}

/// The operator's configuration as the inventory wants it.
pub(super) fn ssh_config(ssh: &Ssh) -> Result<SshConfig, Problem> {
    let given = ssh.config_path.as_deref();
    let path = expand_home(given.unwrap_or(USUAL_CONFIG));
    if given == Some(NONE) || (given.is_none() && !path.is_file()) {
        return Ok(SshConfig::default());
    }
    SshConfig::load(&path, &expand_home("~/")).map_err(|error| Problem {
        kind: ProblemKind::Authentication,
        primary: "the SSH configuration cannot be read".to_owned(),
        detail: Some(error.to_string()),
        hint: Some("ssh.configPath names another one; `none` reads none".to_owned()),
    })
}

impl Ways {
    pub(super) fn to(&self, inventory: &Inventory, host: &Host, accepts_new: bool) -> Result<Way, Problem> {
        if host.connection == Kind::Local {
            return Ok(Way::Local { name: host.name.clone(), host: AgentHost::local() });
        }
        let route = self.route(inventory, host, accepts_new)?;
        Ok(Way::Ssh(HostLink::new(self.dialer.clone(), route, self.program.clone())))
    }

    fn route(&self, inventory: &Inventory, host: &Host, accepts_new: bool) -> Result<Route, Problem> {
        let ssh = &inventory.spec.ssh;
        let user = host.user.as_ref().or(ssh.user.as_ref());
        let config = self.config.host(&[&host.address, &host.name], user.map(String::as_str));
        let bastion = host.bastion.as_ref().or(ssh.bastion.as_ref());
        let via = match bastion {
            // The bastion itself may be one of the hosts.
            Some(bastion) if bastion.address == host.address => None,
            Some(bastion) => Some(Arc::new(self.bastion(ssh, bastion, accepts_new))),
            None => self.jumps(ssh, config.jumps.as_deref().unwrap_or_default(), accepts_new, MAX_BASTIONS),
        };
        Ok(Route {
            host: HostAddress {
                name: host.name.clone(),
                address: host.address.clone(),
                port: host.port.or(ssh.port).or(config.port).unwrap_or(SSH_PORT),
                user: user.or(config.user.as_ref()).map_or_else(|| "root".to_owned(), Clone::clone),
            },
            credentials: credentials(host.key_path.as_ref().or(ssh.key_path.as_ref()), &config),
            host_keys: host_keys(host.host_key.as_ref(), ssh, &config, accepts_new),
            elevation: self.elevation(host.r#become.as_ref().or(ssh.r#become.as_ref()))?,
            deadlines: deadlines(ssh),
            via,
        })
    }

    fn bastion(&self, ssh: &Ssh, bastion: &Bastion, accepts_new: bool) -> Route {
        let user = bastion.user.as_ref().or(ssh.user.as_ref());
        let config = self.config.host(&[&bastion.address], user.map(String::as_str));
        let before = bastion.bastion.as_deref();
        let via = match before {
            Some(before) => Some(Arc::new(self.bastion(ssh, before, accepts_new))),
            None => self.jumps(ssh, config.jumps.as_deref().unwrap_or_default(), accepts_new, MAX_BASTIONS),
        };
        Route {
            host: HostAddress {
                name: bastion.address.clone(),
                address: config.host_name.clone().unwrap_or_else(|| bastion.address.clone()),
                port: bastion.port.or(config.port).unwrap_or(SSH_PORT),
                user: user.or(config.user.as_ref()).map_or_else(|| "root".to_owned(), Clone::clone),
            },
            credentials: credentials(bastion.key_path.as_ref().or(ssh.key_path.as_ref()), &config),
            host_keys: host_keys(bastion.host_key.as_ref(), ssh, &config, accepts_new),
            elevation: Elevation::default(),
            deadlines: deadlines(ssh),
            via,
        }
    }

    /// The last of a `ProxyJump`, reached through those before it. A bastion may have a jump of its own, but only so
    /// many of them: a configuration may well go round in a circle.
    fn jumps(&self, ssh: &Ssh, jumps: &[Jump], accepts_new: bool, left: usize) -> Option<Arc<Route>> {
        let (jump, before) = jumps.split_last()?;
        let left = left.checked_sub(1)?;
        let config = self.config.host(&[&jump.host], jump.user.as_deref());
        let via = if before.is_empty() {
            self.jumps(ssh, config.jumps.as_deref().unwrap_or_default(), accepts_new, left)
        } else {
            self.jumps(ssh, before, accepts_new, left)
        };
        let user = jump.user.as_ref().or(config.user.as_ref()).or(ssh.user.as_ref());
        Some(Arc::new(Route {
            host: HostAddress {
                name: jump.host.clone(),
                address: config.host_name.clone().unwrap_or_else(|| jump.host.clone()),
                port: jump.port.or(config.port).unwrap_or(SSH_PORT),
                user: user.map_or_else(|| "root".to_owned(), Clone::clone),
            },
            credentials: credentials(ssh.key_path.as_ref(), &config),
            host_keys: host_keys(None, ssh, &config, accepts_new),
            elevation: Elevation::default(),
            deadlines: deadlines(ssh),
            via,
        }))
    }

    fn elevation(&self, wanted: Option<&Become>) -> Result<Elevation, Problem> {
        let Some(wanted) = wanted else { return Ok(Elevation::default()) };
        let method = match wanted.method {
            BecomeMethod::Auto => ElevationMethod::Auto,
            BecomeMethod::Sudo => ElevationMethod::Sudo,
            BecomeMethod::Doas => ElevationMethod::Doas,
        };
        let password = wanted.password.as_ref().map(|secret| self.secrets.get(secret)).transpose();
        let password = password.map_err(|failure| Problem {
            kind: ProblemKind::Authentication,
            primary: failure.message,
            detail: Some("it is the password that `become` names".to_owned()),
            hint: failure.hint,
        })?;
        Ok(Elevation { method, password: password.map(Arc::new) })
    }
}

/// The key that was named and no other, by the SSH agent if that holds it; without one the SSH agent's keys and
/// those of the configuration or the usual files.
fn credentials(key_path: Option<&String>, config: &HostConfig) -> Credentials {
    let agent_socket = agent_socket(config);
    if let Some(path) = key_path {
        return Credentials { identity_files: vec![expand_home(path)], agent_socket, only_these: true };
    }
    let is_configured = !config.identity_files.is_empty();
    let files = if is_configured { config.identity_files.clone() } else { USUAL_KEYS.map(expand_home).to_vec() };
    Credentials {
        identity_files: files.into_iter().filter(|path| path.is_file()).collect(),
        agent_socket,
        only_these: config.identities_only,
    }
}

fn agent_socket(config: &HostConfig) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    match config.identity_agent.as_deref() {
        None | Some("SSH_AUTH_SOCK") => variable("SSH_AUTH_SOCK"),
        Some(text) if text.eq_ignore_ascii_case(NONE) => None,
        Some(text) => match text.strip_prefix('$') {
            Some(name) => variable(name.trim_start_matches('{').trim_end_matches('}')),
            None => Some(PathBuf::from(text)),
        },
    }
}

fn host_keys(pin: Option<&String>, ssh: &Ssh, config: &HostConfig, accepts_new: bool) -> HostKeyPolicy {
    if let Some(key) = pin {
        return HostKeyPolicy::Pinned(vec![key.clone()]);
    }
    let files = match (ssh.known_hosts.as_slice(), &config.known_hosts) {
        ([], Some(files)) => files.clone(),
        ([], None) => USUAL_KNOWN_HOSTS.map(expand_home).to_vec(),
        (files, _) => files.iter().map(|file| expand_home(file)).collect(),
    };
    if accepts_new || config.accept_new { HostKeyPolicy::AcceptNew(files) } else { HostKeyPolicy::KnownHosts(files) }
}

fn deadlines(ssh: &Ssh) -> Deadlines {
    let seconds = |count: u32| Duration::from_secs(u64::from(count.max(1)));
    let connect = seconds(ssh.connect_timeout_seconds);
    let keepalive = seconds(ssh.keepalive_seconds);
    Deadlines { connect, keepalive, login: connect.max(MIN_LOGIN), ..Deadlines::default() }
}

/// `~/x` below the home folder.
pub(crate) fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: test}\nspec:\n";

    fn ways(folder: &Path, config: &str) -> Ways {
        let path = folder.join("config");
        fs_err::write(&path, config).unwrap();
        let program = AgentProgram::known(&std::env::current_exe().unwrap(), "0".repeat(64), 1).unwrap();
        Ways {
            dialer: Dialer::silent(),
            program: Arc::new(program),
            config: SshConfig::load(&path, folder).unwrap(),
            secrets: Secrets::beside(folder),
        }
    }

    fn route(config: &str, spec: &str) -> Result<Route, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let inventory = naru_inventory::parse("cluster.yaml", &format!("{HEAD}{spec}")).unwrap();
        ways(folder.path(), config).route(&inventory, &inventory.spec.hosts[0], false)
    }

    const HOST: &str = "  hosts:\n  - {name: c1, role: control-plane, address: 10.0.0.1}\n";

    #[test]
    fn the_inventory_wins_over_the_configuration() {
        let config = "Host 10.0.0.*\nUser someone\nPort 2222\nUserKnownHostsFile /known\nStrictHostKeyChecking accept-new\n\
                      Host c1\nIdentityAgent none\n";
        let found = route(config, HOST).unwrap();
        assert_eq!((found.host.user.as_str(), found.host.port), ("someone", 2222));
        assert_eq!(found.host_keys, HostKeyPolicy::AcceptNew(vec![PathBuf::from("/known")]));
        assert_eq!(found.credentials.agent_socket, None);
        let spec = format!("  ssh: {{user: admin, knownHosts: [/other], keyPath: /key, keepaliveSeconds: 7}}\n{HOST}");
        let found = route(config, &spec).unwrap();
        assert_eq!((found.host.user.as_str(), found.host.port), ("admin", 2222));
        assert_eq!(found.host_keys, HostKeyPolicy::AcceptNew(vec![PathBuf::from("/other")]));
        assert_eq!(found.credentials.identity_files, [PathBuf::from("/key")]);
        assert_eq!(found.deadlines.keepalive, Duration::from_secs(7));
        let own = "  ssh: {user: admin, port: 1}\n  hosts:\n  - {name: c1, role: control-plane, address: 10.0.0.1, user: me, port: 3}\n";
        let found = route(config, own).unwrap();
        assert_eq!((found.host.user.as_str(), found.host.port), ("me", 3));
        assert_eq!(route("", HOST).unwrap().host.user, "root");
    }

    /// The bastions on the way, the nearest to us first.
    fn hops(route: &Route) -> Vec<String> {
        let Some(via) = &route.via else { return Vec::new() };
        let mut hops = hops(via);
        hops.push(format!("{}@{}:{}", via.host.user, via.host.address, via.host.port));
        hops
    }

    #[test]
    fn bastions_come_from_the_inventory_or_from_jumps() {
        let config =
            "Host c1\nProxyJump outer,me@inner:24\nHost outer\nHostName 192.0.2.1\nUser jump\nProxyJump first\n";
        let jumps = route(config, HOST).unwrap();
        assert_eq!(hops(&jumps), ["root@first:22", "jump@192.0.2.1:22", "me@inner:24"]);
        let bastion = "  ssh: {user: admin, bastion: {address: b.example.com, port: 23, bastion: {address: outer}}}\n";
        let found = route(config, &format!("{bastion}{HOST}")).unwrap();
        assert_eq!(hops(&found), ["admin@first:22", "admin@192.0.2.1:22", "admin@b.example.com:23"]);
        // A circle ends.
        assert!(hops(&route("Host *\nProxyJump a\n", HOST).unwrap()).len() <= MAX_BASTIONS);
        // The bastion is one of the hosts.
        let own = format!("  ssh: {{bastion: {{address: 10.0.0.1}}}}\n{HOST}");
        assert!(route("", &own).unwrap().via.is_none());
    }

    #[test]
    fn a_missing_password_is_named_before_anything_is_tried() {
        let spec =
            format!("  ssh: {{user: me, become: {{method: sudo, password: \"${{NARU_TEST_ABSENT}}\"}}}}\n{HOST}");
        let problem = route("", &spec).unwrap_err();
        assert!(problem.primary.contains("NARU_TEST_ABSENT"), "{problem:?}");
        assert!(problem.hint.unwrap().contains("export NARU_TEST_ABSENT"));
    }
}
