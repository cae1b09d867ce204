//! Pod networks of nodes: each gets the lowest free block of the cluster's pod network, and keeps it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::context::Context;
use crate::runtime::{Error, EventKind, Queue, Recorder, Result, Shutdown, Subject, Tasks, meta, run_workers};

/// One worker, so that two nodes never get one block.
const WORKERS: usize = 1;

/// The cluster's pod network, cut into blocks of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    base: u32,
    prefix: u8,
    block_prefix: u8,
}

impl Blocks {
    pub(crate) fn parse(network: &str, block_prefix: u8) -> Result<Self> {
        let invalid = || Error::PodNetwork(network.to_owned());
        let (address, prefix) = network.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if prefix > block_prefix || block_prefix > 30 || prefix == 0 {
            return Err(invalid());
        }
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { base: u32::from(address) & mask, prefix, block_prefix })
    }

    fn count(self) -> u32 {
        1 << (self.block_prefix - self.prefix)
    }

    fn lowest_free(self, used: &HashSet<&str>) -> Option<String> {
        (0..self.count()).map(|index| self.block(index)).find(|block| !used.contains(block.as_str()))
    }

    fn block(self, index: u32) -> String {
        let address = Ipv4Addr::from(self.base + (index << (32 - self.block_prefix)));
        format!("{address}/{}", self.block_prefix)
    }
}

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    recorder: Recorder,
    queue: Arc<Queue<String>>,
    blocks: Blocks,
    /// Given in this process; the cache may not show it yet.
    given: Arc<Mutex<HashMap<String, String>>>,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Result<Self> {
        let config = &context.config;
        let this = Self {
            context: context.clone(),
            recorder: context.recorder.named("cidrAllocator"),
            queue: Arc::default(),
            blocks: Blocks::parse(&config.pod_cidr, config.node_cidr_prefix)?,
            given: Arc::default(),
        };
        let (queue, given) = (Arc::clone(&this.queue), Arc::clone(&this.given));
        let nodes = context.nodes.clone();
        context.nodes.on_change(move |old, new| match (old, new) {
            (_, Some(node)) if block_of(node).is_none() => queue.add(meta::name(&node.metadata).to_owned()),
            (Some(gone), None) => {
                given.lock().remove(meta::name(&gone.metadata));
                // Its block is free now; somebody may be waiting for one.
                for node in nodes.all().into_iter().filter(|node| block_of(node).is_none()) {
                    queue.add(meta::name(&node.metadata).to_owned());
                }
            }
            _ => {}
        });
        Ok(this)
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "node-network", WORKERS, &self.queue, shutdown, move |name| {
            let this = this.clone();
            async move { this.reconcile(name).await }
        });
    }

    async fn reconcile(&self, name: String) -> Result<()> {
        let nodes = self.context.nodes.all();
        let Some(node) = nodes.iter().find(|node| meta::name(&node.metadata) == name) else { return Ok(()) };
        if block_of(node).is_some() {
            return Ok(());
        }
        let block = {
            let mut given = self.given.lock();
            let in_use = nodes.iter().filter_map(|node| block_of(node));
            let used: HashSet<&str> = in_use.chain(given.values().map(String::as_str)).collect();
            let block = given.get(&name).cloned().or_else(|| self.blocks.lowest_free(&used));
            if let Some(block) = &block {
                given.insert(name.clone(), block.clone());
            }
            block
        };
        let Some(block) = block else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.event(Subject::node(&name), EventKind::Normal, "CIDRNotAvailable", message);
            return Err(Error::Later(format!("no pod network is free for node {name}")));
        };
        let api: Api<Node> = Api::all(self.context.client.clone());
        let patch = json!({"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": block, "podCIDRs": [block]}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        tracing::info!(node = name, block, "pod network given");
        Ok(())
    }
}

fn block_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|block| !block.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_block() {
        let blocks = Blocks::parse("10.244.0.0/16", 24).unwrap();
        assert_eq!(blocks.lowest_free(&HashSet::new()).as_deref(), Some("10.244.0.0/24"));
        let used = HashSet::from(["10.244.0.0/24", "10.244.2.0/24"]);
        assert_eq!(blocks.lowest_free(&used).as_deref(), Some("10.244.1.0/24"));
        assert_eq!(blocks.block(255), "10.244.255.0/24");
        let one = Blocks::parse("10.244.7.9/24", 24).unwrap();
        assert_eq!(one.lowest_free(&HashSet::from(["10.244.7.0/24"])), None);
        for bad in ["10.244.0.0", "fd00::/64", "10.244.0.0/25", "10.244.0.0/0", "x/16"] {
            assert!(Blocks::parse(bad, 24).is_err(), "{bad}");
        }
    }
}
