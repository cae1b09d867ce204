//! The cluster's identity, which control planes share: sealed on the one that has it for the one that gets it, so that
//! what passes through here can be read by neither us nor a journal.

use naru_agent::{Request, Response};

use super::Lines;
use crate::world::{World, unexpected};

impl World<'_> {
    pub(super) async fn copy_identity(&self, host: &str, from: &str, paths: &[String]) -> Lines {
        // The same connection receives the key's answer: the other half of the key lives in it alone.
        let receiver = self.agent(host).await?;
        let Response::Recipient { recipient } = receiver.call(Request::ReceiveIdentity).await? else {
            return Err(unexpected(host, "getting ready for the cluster's identity"));
        };
        let request = Request::SealIdentity { paths: paths.to_vec(), recipient };
        let Response::Sealed { sealed } = self.call(from, request).await? else {
            return Err(unexpected(from, "sealing the cluster's identity"));
        };
        match receiver.call(Request::InstallIdentity { sealed }).await? {
            Response::Done => Ok(vec![format!("copy the cluster's identity from {from}")]),
            Response::Changes { changes, .. } => Ok(changes.into_iter().map(|change| change.summary).collect()),
            _ => Err(unexpected(host, "keeping the cluster's identity")),
        }
    }
}
