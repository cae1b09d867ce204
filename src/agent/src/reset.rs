//! Removes what Naru put on a host, so that it could go on as something else: pods, units, network, files. Packages
//! and container images stay. It may be cut off anywhere and asked for again.

use std::net::Ipv4Addr;

use fs_err as fs;
use futures::TryStreamExt;
use naru_resources::{Change, Host, Program, ResourceError, Teardown};
use rtnetlink::RouteMessageBuilder;
use serde::Deserialize;

use crate::facts::OUR_ROUTES;
use crate::runtime::Runtime;
use crate::session::{crashed, failure};
use crate::{Failure, FailureKind};

const NODE_CONFIGURATION: &str = "/etc/naru/node.yaml";
const TABLES: &str = "naru-";
const LOOPBACK_INDEX: u32 = 1;
const HOST_PREFIX: u8 = 32;

/// What of the node's configuration left traces in the network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    #[serde(rename = "dnsServiceIP")]
    dns_service_ip: Option<Ipv4Addr>,
}

pub(crate) async fn reset(host: &Host) -> Result<Vec<Change>, Failure> {
    let mut done = Done { host: host.clone(), changes: Vec::new() };
    if !Teardown::is_needed(host) {
        return Ok(Vec::new());
    }
    // The node program first: it would start every pod again.
    done.files(Teardown::retire_units).await?;
    done.pods().await?;
    done.files(Teardown::unmount).await?;
    done.network().await?;
    // Before the files, so that a reset which is cut off here still knows what the network is like.
    done.files(Teardown::remove_entries).await?;
    done.files(Teardown::remove_folders).await?;
    Ok(done.changes)
}

struct Done {
    host: Host,
    changes: Vec<Change>,
}

impl Done {
    fn note(&mut self, summary: String) {
        self.changes.push(Change { resource: self.changes.len(), summary, diff: None, disruption: None });
    }

    fn failed(&self, message: String, detail: String) -> Failure {
        let done: Vec<&str> = self.changes.iter().map(|change| change.summary.as_str()).collect();
        let detail = if done.is_empty() { detail } else { format!("{detail}\ndone before: {}", done.join("; ")) };
        Failure { kind: FailureKind::Transient, message, detail: Some(detail), hint: None }
    }

    async fn files(&mut self, step: fn(&mut Teardown) -> Result<(), ResourceError>) -> Result<(), Failure> {
        let (host, changes) = (self.host.clone(), std::mem::take(&mut self.changes));
        let worked = tokio::task::spawn_blocking(move || {
            let mut teardown = Teardown::new(&host, changes);
            let outcome = step(&mut teardown);
            (outcome, teardown.changes())
        });
        let (outcome, changes) = worked.await.map_err(|crash| crashed(&crash))?;
        self.changes = changes;
        outcome.map_err(|error| failure(&error, &self.changes))
    }

    async fn pods(&mut self) -> Result<(), Failure> {
        let Some(mut runtime) = Runtime::of(&self.host) else { return Ok(()) };
        let sandboxes = match runtime.sandboxes().await {
            Ok(sandboxes) => sandboxes,
            Err(reason) => {
                // A socket that nobody listens on: then nothing that it started is known to anybody.
                tracing::warn!(reason, "the container runtime does not answer; its pods are left alone");
                return Ok(());
            }
        };
        for sandbox in sandboxes {
            if let Err(reason) = runtime.remove(&sandbox).await {
                return Err(self.failed(format!("the pod {} could not be removed", sandbox.pod), reason));
            }
            self.note(format!("remove pod {}", sandbox.pod));
        }
        Ok(())
    }

    async fn network(&mut self) -> Result<(), Failure> {
        let host = self.host.clone();
        let worked = tokio::task::spawn_blocking(move || remove_tables(&host));
        for table in worked.await.map_err(|crash| crashed(&crash))?.map_err(|error| failure(&error, &self.changes))? {
            self.note(format!("remove nftables table {table}"));
        }
        let text = fs::read_to_string(self.host.path(NODE_CONFIGURATION)).unwrap_or_default();
        let node: Node = serde_saphyr::from_str(&text).unwrap_or_default();
        match forget_addresses(node.dns_service_ip).await {
            Ok(removed) => removed.into_iter().for_each(|summary| self.note(summary)),
            Err(error) => return Err(self.failed("routes could not be removed".to_owned(), error.to_string())),
        }
        Ok(())
    }
}

/// Names of the tables that were removed.
fn remove_tables(host: &Host) -> Result<Vec<String>, ResourceError> {
    let list = match Program::new(host, "nft").arguments(["list", "tables"]).run() {
        Ok(output) => output.stdout,
        // Without nft there was never a table of ours.
        Err(ResourceError::ProgramMissing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut removed = Vec::new();
    for line in list.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["table", family, name] = words[..]
            && name.starts_with(TABLES)
        {
            Program::new(host, "nft").arguments(["delete", "table", family, name]).run()?;
            removed.push(format!("{family} {name}"));
        }
    }
    Ok(removed)
}

/// Routes to other hosts' pods, and the address of the cluster's DNS on the loopback link.
async fn forget_addresses(dns: Option<Ipv4Addr>) -> Result<Vec<String>, rtnetlink::Error> {
    let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return Ok(Vec::new()) };
    let connection = tokio::spawn(connection);
    let mut removed = Vec::new();
    let mut ours = Vec::new();
    let mut routes = std::pin::pin!(handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute());
    while let Some(route) = routes.try_next().await? {
        if route.header.protocol == OUR_ROUTES {
            ours.push(route);
        }
    }
    if !ours.is_empty() {
        removed.push(format!("remove {} routes to pods of other hosts", ours.len()));
    }
    for route in ours {
        handle.route().del(route).execute().await?;
    }
    if let Some(dns) = dns {
        let addresses = handle.address().get().set_link_index_filter(LOOPBACK_INDEX).set_address_filter(dns.into());
        let mut addresses = std::pin::pin!(addresses.execute());
        let mut found = Vec::new();
        while let Some(address) = addresses.try_next().await? {
            if address.header.prefix_len == HOST_PREFIX {
                found.push(address);
            }
        }
        for address in found {
            handle.address().del(address).execute().await?;
            removed.push(format!("remove address {dns} from lo"));
        }
    }
    connection.abort();
    Ok(removed)
}

#[cfg(test)]
#[path = "reset_tests.rs"]
mod tests;
