//! What can go wrong with machines, told so that the reader knows the next step.

use std::path::PathBuf;

/// An error of a provider.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs that the local provider runs are not installed.
    #[error("local machines need programs that are not installed: {programs} (apt-get install {packages})")]
    MissingPrograms {
        /// Names of the programs.
        programs: String,
        /// Debian packages that hold them.
        packages: String,
    },
    /// Mounts, namespaces and cgroups need root.
    #[error("local machines can only be made by root")]
    NotRoot,
    /// The wish cannot be fulfilled as it is written.
    #[error("cluster {cluster}: {message}")]
    Specification {
        /// The cluster it is about.
        cluster: String,
        /// What is wrong.
        message: String,
    },
    /// A name is in use by something that is not ours.
    #[error("{what} exists already and was not made by this cluster; choose another cluster name or remove it")]
    Taken {
        /// The thing found.
        what: String,
    },
    /// There is no such cluster or machine in the state folder.
    #[error("there is no local machine or cluster {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// All candidate subnets overlap with a route of this host.
    #[error("no free /24 for a cluster's bridge in 10.201.0.0/16, 172.29.0.0/16, 192.168.0.0/16")]
    NoFreeNetwork,
    /// A program did not do its work.
    #[error("{program} failed ({status}): {stderr}\n  command: {command}")]
    Command {
        /// Program name.
        program: String,
        /// Exit status or signal.
        status: String,
        /// Last lines of its standard error.
        stderr: String,
        /// The whole command line.
        command: String,
    },
    /// Something took longer than it may.
    #[error("{what} took more than {seconds} s{hint}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
        /// Where to look, with its leading separator, or nothing.
        hint: String,
    },
    /// A record in the state folder cannot be read.
    #[error("the record {path} cannot be read; it was written by another version or damaged")]
    Record {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Output of a program is not what it should be.
    #[error("the output of `{command}` cannot be understood")]
    Output {
        /// The command.
        command: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A key cannot be made or written.
    #[error("making the SSH key {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What the library says.
        source: russh::keys::ssh_key::Error,
    },
    /// Reading or writing; the text of `fs_err` names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    /// A wish that cannot be fulfilled.
    pub(crate) fn specification(cluster: &str, message: impl Into<String>) -> Self {
        Self::Specification { cluster: cluster.to_owned(), message: message.into() }
    }
}
