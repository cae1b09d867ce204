//! The members of the etcd cluster that this host is part of, by etcdctl. Every change may be asked for twice: what is
//! so already is left as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use fs_err as fs;
use naru_resources::{Host, Output, Program, ResourceError};
use serde::Deserialize;

use crate::session::failure;
use crate::{EtcdMember, EtcdRequest, Failure, FailureKind};

const CONFIGURATION: &str = "/etc/naru/etcd.yaml";
const CLIENT_URLS: &str = "listen-client-urls:";
const DEFAULT_ENDPOINT: &str = "https://127.0.0.1:2379";
pub(crate) const PKI: &str = "/etc/naru/pki/etcd";
/// Certificates that etcd lets in, the one that is made for clients first.
const CERTIFICATES: [&str; 4] = ["client", "healthcheck-client", "server", "peer"];
const DIAL_TIMEOUT: &str = "--dial-timeout=2s";
const COMMAND_TIMEOUT: &str = "--command-timeout=8s";
const DEADLINE: Duration = Duration::from_secs(30);
/// In etcd's answer when waiting may help.
const PASSING: [&str; 8] = [
    "in sync with leader",
    "context deadline exceeded",
    "connection refused",
    "no leader",
    "leader changed",
    "request timed out",
    "unhealthy cluster",
    "too many learner members",
];

#[derive(Debug, Deserialize)]
struct MemberList {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Debug, Clone, Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    is_learner: bool,
}

#[derive(Debug, Deserialize)]
struct EndpointStatus {
    #[serde(rename = "Status")]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: u64,
    #[serde(default)]
    errors: Vec<String>,
}

impl Status {
    /// It answers, knows a leader, and has raised no alarm.
    fn is_healthy(&self) -> bool {
        self.leader != 0 && self.errors.is_empty()
    }
}

#[derive(Debug, Deserialize)]
struct Header {
    member_id: u64,
}

/// How this host's member is reached.
struct Access<'a> {
    host: &'a Host,
    endpoint: String,
    tls: Vec<String>,
}

/// Does what is asked and tells the members as they are then.
pub(crate) fn answer(host: &Host, request: &EtcdRequest) -> Result<Vec<EtcdMember>, Failure> {
    let access = Access::new(host);
    let members = access.members()?;
    let find = |wanted: &str| {
        // A learner that has not started has no name yet.
        let known = |member: &&Member| {
            member.name == wanted
                || format!("{:x}", member.id) == wanted
                || member.peer_urls.iter().any(|url| url == wanted)
        };
        members.iter().find(known).filter(|_| !wanted.is_empty())
    };
    let missing = |name: &str| Failure {
        kind: FailureKind::Permanent,
        message: format!("{name} is no member of this etcd cluster"),
        detail: None,
        hint: None,
    };
    match request {
        EtcdRequest::Members => {}
        EtcdRequest::AddLearner { name, peer_url } => {
            if find(peer_url).is_none() {
                access.change(&["member", "add", name, "--learner", &format!("--peer-urls={peer_url}")])?;
            }
        }
        EtcdRequest::Promote { name } => {
            let member = find(name).ok_or_else(|| missing(name))?;
            if member.is_learner {
                // etcd itself asks only how much the learner knows, not whether it is still there.
                if !access.statuses().get(&member.id).is_some_and(Status::is_healthy) {
                    return Err(silent(name));
                }
                access.change(&["member", "promote", &format!("{:x}", member.id)])?;
            }
        }
        EtcdRequest::MoveLeader { to } => {
            let member = find(to).ok_or_else(|| missing(to))?;
            if access.statuses().get(&member.id).is_none_or(|status| status.leader != member.id) {
                access.move_leader(&members, member.id)?;
            }
        }
        EtcdRequest::Remove { name } => {
            if let Some(member) = find(name) {
                access.change(&["member", "remove", &format!("{:x}", member.id)])?;
            }
        }
    }
    let members = if *request == EtcdRequest::Members { members } else { access.members()? };
    Ok(described(&members, &access.statuses()))
}

fn silent(learner: &str) -> Failure {
    Failure {
        kind: FailureKind::Transient,
        message: format!("{learner} does not answer, so it is not made a voter"),
        detail: Some("a voter that is away counts against the majority".to_owned()),
        hint: None,
    }
}

fn described(members: &[Member], statuses: &BTreeMap<u64, Status>) -> Vec<EtcdMember> {
    let describe = |member: &Member| {
        let status = statuses.get(&member.id);
        EtcdMember {
            name: member.name.clone(),
            id: format!("{:x}", member.id),
            peer_url: member.peer_urls.first().cloned().unwrap_or_default(),
            is_learner: member.is_learner,
            is_leader: status.is_some_and(|status| status.leader == member.id),
            is_healthy: status.is_some_and(Status::is_healthy),
        }
    };
    members.iter().map(describe).collect()
}

impl<'a> Access<'a> {
    fn new(host: &'a Host) -> Self {
        let configuration = fs::read_to_string(host.path(CONFIGURATION)).unwrap_or_default();
        let urls = configuration.lines().find_map(|line| line.trim().strip_prefix(CLIENT_URLS));
        let first = urls.and_then(|urls| urls.trim().trim_matches(['"', '\'']).split(',').next());
        let endpoint = first.map_or(DEFAULT_ENDPOINT, str::trim).replace("//0.0.0.0:", "//127.0.0.1:");
        let path = |file: &str| host.path(PKI).join(file);
        let mut tls = Vec::new();
        let pair = CERTIFICATES.iter().find(|name| path(&format!("{name}.crt")).exists());
        if let Some(name) = pair.filter(|_| endpoint.starts_with("https:")) {
            let files =
                [("cacert", "ca.crt".to_owned()), ("cert", format!("{name}.crt")), ("key", format!("{name}.key"))];
            tls.extend(files.map(|(flag, file)| format!("--{flag}={}", path(&file).display())));
        }
        Self { host, endpoint, tls }
    }

    fn etcdctl(&self, endpoints: &str, arguments: &[&str]) -> Result<Output, ResourceError> {
        Program::new(self.host, "etcdctl")
            .environment("ETCDCTL_API", "3")
            .arguments([&format!("--endpoints={endpoints}"), DIAL_TIMEOUT, COMMAND_TIMEOUT])
            .arguments(&self.tls)
            .arguments(arguments)
            .deadline(DEADLINE)
            .output()
    }

    fn ask(&self, endpoints: &str, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.etcdctl(endpoints, arguments).map_err(|error| failure(&error, &[]))?;
        if output.success {
            return Ok(output.stdout);
        }
        let reason = output.stderr.lines().filter_map(|line| line.strip_prefix("Error: ")).next_back();
        let is_passing = PASSING.iter().any(|sign| output.stderr.contains(sign));
        Err(Failure {
            kind: if is_passing { FailureKind::Transient } else { FailureKind::Permanent },
            message: format!("etcd refuses `{}`", arguments.join(" ")),
            detail: Some(reason.unwrap_or(output.stderr.trim()).to_owned()),
            hint: Some("`journalctl -u naru-etcd` on the host tells more".to_owned()),
        })
    }

    fn change(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.ask(&self.endpoint, arguments).map(drop)
    }

    /// Only the leader itself gives its office away; etcdctl finds it among these.
    fn move_leader(&self, members: &[Member], id: u64) -> Result<(), Failure> {
        let voters = members.iter().filter(|member| !member.is_learner);
        let urls: Vec<&str> = voters.filter_map(|member| member.client_urls.first().map(String::as_str)).collect();
        self.ask(&urls.join(","), &["move-leader", &format!("{id:x}")]).map(drop)
    }

    fn members(&self) -> Result<Vec<Member>, Failure> {
        let text = self.ask(&self.endpoint, &["member", "list", "--write-out=json"])?;
        let list: MemberList = serde_json::from_str(text.trim()).map_err(|error| Failure {
            kind: FailureKind::Permanent,
            message: "the list of etcd's members cannot be read".to_owned(),
            detail: Some(error.to_string()),
            hint: None,
        })?;
        Ok(list.members)
    }

    /// Of those members that answer; the others make etcdctl end with an error, but the list is there all the same.
    fn statuses(&self) -> BTreeMap<u64, Status> {
        let Ok(output) = self.etcdctl(&self.endpoint, &["endpoint", "status", "--cluster", "--write-out=json"]) else {
            return BTreeMap::new();
        };
        let statuses: Vec<EndpointStatus> = serde_json::from_str(output.stdout.trim()).unwrap_or_default();
        statuses.into_iter().map(|found| (found.status.header.member_id, found.status)).collect()
    }
}

#[cfg(test)]
#[path = "etcd_tests.rs"]
mod tests;
