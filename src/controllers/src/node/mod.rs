//! Nodes: their health, what they may still run, their pod networks, and what they leave behind.

pub(crate) mod eviction;
pub(crate) mod lifecycle;
pub(crate) mod network;
pub(crate) mod sweep;
mod taints;
