//! The cluster's identity, from a control plane that has it to one that is to have it: sealed on the one, opened on the
//! other, unreadable here.

use naru_agent::{Request, Response};

use super::Lines;
use crate::world::{World, unexpected};

impl World<'_> {
    pub(super) async fn copy_identity(&self, host: &str, from: &str, paths: &[String]) -> Lines {
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
        }
    }
}
