<<<<<<< HEAD
//! The cluster's identity, from a control plane that has it to one that is to have it: sealed on the one, opened on the
//! other, unreadable here.
=======
//! The cluster's identity, which control planes share: sealed on the one that has it for the one that gets it, so that
//! what passes through here can be read by neither us nor a journal.
>>>>>>> main

use naru_agent::{Request, Response};

use super::Lines;
use crate::world::{World, unexpected};

impl World<'_> {
    pub(super) async fn copy_identity(&self, host: &str, from: &str, paths: &[String]) -> Lines {
<<<<<<< HEAD
        let (receiver, giver) = (self.agent(host).await?, self.agent(from).await?);
        let Response::Recipient { public_key } = receiver.call(Request::ReceiveIdentity).await? else {
            return Err(unexpected(host, "getting ready for the identity"));
        };
        let request = Request::SealIdentity { paths: paths.to_vec(), recipient: public_key };
        let Response::Sealed { sealed } = giver.call(request).await? else {
            return Err(unexpected(from, "sealing the identity"));
        };
        match receiver.call(Request::InstallIdentity { sealed }).await? {
            Response::Done => Ok(paths.iter().map(|path| format!("copy {path} from {from}")).collect()),
            _ => Err(unexpected(host, "installing the identity")),
=======
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
>>>>>>> main
        }
    }
}
