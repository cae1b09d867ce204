//! `naru init`: writes a commented inventory that apply takes as it is. On a terminal it asks for what no flag has
//! said, elsewhere it takes defaults; machines that exist are looked at first, so that names and roles fit them.

mod probe;
mod questions;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fs_err as fs;
use naru_inventory::Host;

use self::probe::Looked;
use self::questions::Questions;
use super::tell;
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};

const DEFAULT_NAME: &str = "naru";
const DEFAULT_PORT: u16 = 22;

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
    /// A machine as [USER@]ADDRESS[:PORT]. Repeat for more.
    #[arg(long = "host", value_name = "USER@ADDR")]
    hosts: Vec<String>,
    /// The cluster's name. Default: naru.
    #[arg(long)]
    name: Option<String>,
    /// The login on the hosts. Default: that of the first host, else root.
    #[arg(long)]
    user: Option<String>,
    /// Private key for the hosts. Default: the SSH agent, then the usual files.
    #[arg(long, value_name = "PATH")]
    key: Option<String>,
    /// Ask each host for its key now and pin it in the inventory; compare the fingerprints that are shown.
    #[arg(long)]
    accept_new_host_keys: bool,
    /// Look at the hosts, so that names and roles fit them (the default).
    #[arg(long, overrides_with = "no_probe")]
    probe: bool,
    /// Do not connect to the hosts; the first becomes the control plane.
    #[arg(long)]
    no_probe: bool,
    /// Folder that holds naru-node, which looks at the hosts. Default: that of this program.
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Do not ask: take flags and defaults.
    #[arg(long)]
    yes: bool,
    /// The file to write; `-` for standard output.
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
}

/// A machine as it was named, and what is known of it by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    user: Option<String>,
    address: String,
    port: Option<u16>,
    host_key: Option<String>,
}

/// What holds for all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    user: String,
    key: Option<String>,
}

impl Init {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        // Before anything is asked or looked at.
        self.refuse_existing()?;
        let mut questions = Questions::new(terminal.can_ask && !self.yes);
        let text = match self.provider(&mut questions)? {
            Provider::Local => text::local(&self.cluster_name(&mut questions)?),
            Provider::Ssh => self.for_hosts(&mut questions).await?,
        };
        // What is written is what apply would read: an address that is none is told now.
        naru_inventory::parse(&self.file.to_string_lossy(), &text)?;
        self.write(&text)
    }

    async fn for_hosts(&self, questions: &mut Questions) -> Result<String, Failure> {
        let mut targets = self.targets(questions)?;
        let first_user = targets.iter().find_map(|target| target.user.clone()).unwrap_or_else(|| "root".to_owned());
        let user = match &self.user {
            Some(user) => user.clone(),
            None => questions.ask("The login on the hosts: root, or one with sudo or doas", &first_user)?,
        };
        let key = match &self.key {
            Some(key) => Some(key.clone()),
            None => Some(questions.ask("Private key; empty for the SSH agent and the usual files", "")?)
                .filter(|key| !key.is_empty()),
        };
        let login = Login { user, key };
        let name = self.cluster_name(questions)?;
        if self.accept_new_host_keys {
            for target in &mut targets {
                target.host_key = pinned(target).await?;
            }
        }
        let draft = text::draft(&login, &targets);
        // Addresses are checked before anything connects to them.
        let inventory = naru_inventory::parse(
            &self.file.to_string_lossy(),
            &text::for_hosts(&name, &login, &draft, &Looked::default()),
        )?;
        let looked = match self.no_probe && !self.probe {
            true => Looked::default(),
            false => probe::look(&inventory, self.artifacts.as_deref(), self.accept_new_host_keys).await,
        };
        let hosts: Vec<Host> = looked.propose(draft);
        if let Some(table) = looked.table(&hosts) {
            tell(&table);
        }
        Ok(text::for_hosts(&name, &login, &hosts, &looked))
    }

    fn targets(&self, questions: &mut Questions) -> Result<Vec<Target>, Failure> {
        let mut named = self.hosts.clone();
        if named.is_empty() {
            let answer = questions.ask("Machines as [USER@]ADDRESS[:PORT], separated by spaces", "")?;
            named = answer.split([' ', ',']).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        }
        if named.is_empty() {
            return Err(Failure::user("no machines are named").hint("--host root@10.0.0.11 --host root@10.0.0.21 …"));
        }
        named.iter().map(|text| target(text)).collect()
    }

    fn cluster_name(&self, questions: &mut Questions) -> Result<String, Failure> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => questions.ask("The cluster's name", DEFAULT_NAME),
        }
    }

    fn provider(&self, questions: &mut Questions) -> Result<Provider, Failure> {
        if let Some(provider) = self.provider {
            return Ok(provider);
        }
        if !self.hosts.is_empty() {
            return Ok(Provider::Ssh);
        }
        if !questions.can_ask() {
            return Err(
                Failure::user("where do machines come from?").hint("--provider local, or --provider ssh --host …")
            );
        }
        let question = "Where do machines come from?\n  1  this computer makes them (local)\n  2  they exist, by SSH\n";
        match questions.ask(question, "1")?.as_str() {
            "1" | "local" => Ok(Provider::Local),
            "2" | "ssh" => Ok(Provider::Ssh),
            other => Err(Failure::user(format!("`{other}` is neither 1 nor 2"))),
        }
    }

    fn refuse_existing(&self) -> Result<(), Failure> {
        match !self.force && self.file.as_os_str() != "-" && self.file.exists() {
            true => Err(self.exists_already()),
            false => Ok(()),
        }
    }

    fn exists_already(&self) -> Failure {
        Failure::user(format!("{} exists already", self.file.display())).hint("--force replaces it")
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
            std::io::ErrorKind::AlreadyExists => self.exists_already(),
            _ => Failure::user(error.to_string()),
        })?;
        tell(&format!("Wrote {0}. Next: naru apply {0}\n", self.file.display()));
        Ok(Exit::Done)
    }
}

/// The key that a host shows now; none of a host that shows none, which is a remark and no failure.
async fn pinned(target: &Target) -> Result<Option<String>, Failure> {
    match crate::fleet::host_key(&target.address, target.port.unwrap_or(DEFAULT_PORT)).await {
        Ok(key) => {
            tell(&format!("{}: {}\n  {key}\n", target.address, probe::fingerprint(&key)));
            Ok(Some(key))
        }
        Err(failure) => {
            tell(&format!("{}: its key is not pinned\n{}", target.address, failure.render(naru_plan::Colour::Never)));
            Ok(None)
        }
    }
}

fn target(text: &str) -> Result<Target, Failure> {
    let (user, rest) = match text.rsplit_once('@') {
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

#[cfg(test)]
mod tests;
