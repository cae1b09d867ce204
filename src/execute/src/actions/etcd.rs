//! Members of etcd. Each change first looks at what there is, because an earlier run may have made it already.

use std::time::Duration;

use naru_agent::{EtcdMember, EtcdRequest, FailureKind, Request, Response};
use naru_observe::AgentError;
use tokio::time::sleep;

use super::Lines;
use crate::world::{World, failed, unexpected};

/// How often a learner is looked at; the step's deadline ends it.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(1);

impl World<'_> {
    async fn etcd(&self, hosts: &[String], request: EtcdRequest) -> Result<Vec<EtcdMember>, AgentError> {
        match self.first_answer(hosts, &Request::Etcd(request)).await? {
            Response::EtcdMembers { members } => Ok(members),
            _ => Err(unexpected(hosts.first().map_or("", String::as_str), "a question about etcd")),
        }
    }

    pub(super) async fn etcd_add(&self, host: &str, hosts: &[String], peer_url: &str) -> Lines {
        let members = self.etcd(hosts, EtcdRequest::Members).await?;
        if members.iter().any(|member| member.name == host || member.peer_url == peer_url) {
            return Ok(Vec::new());
        }
        self.etcd(hosts, EtcdRequest::AddLearner { name: host.to_owned(), peer_url: peer_url.to_owned() }).await?;
        Ok(vec![format!("add {host} to etcd as a learner")])
    }

    /// Waits until the learner has started and caught up, which etcd alone can tell.
    pub(super) async fn etcd_promote(&self, host: &str, hosts: &[String]) -> Lines {
        loop {
            let members = self.etcd(hosts, EtcdRequest::Members).await?;
            match members.iter().find(|member| member.name == host) {
                Some(member) if !member.is_learner => return Ok(vec![format!("{host} votes in etcd")]),
                Some(_) => match self.etcd(hosts, EtcdRequest::Promote { name: host.to_owned() }).await {
                    Ok(_) => continue,
                    Err(AgentError::Failed(failure)) if failure.kind == FailureKind::Transient => {}
                    Err(error) => return Err(error),
                },
                None if members.iter().all(|member| !member.name.is_empty()) => {
                    let message = format!("{host} is no member of etcd, so it cannot become a voter");
                    return Err(failed(FailureKind::Permanent, message, None));
                }
                // A learner has no name before it has started.
                None => {}
            }
            sleep(CATCH_UP_INTERVAL).await;
        }
    }

    pub(super) async fn etcd_move_leader(&self, host: &str, to: &str) -> Lines {
        let hosts = [host.to_owned()];
        let members = self.etcd(&hosts, EtcdRequest::Members).await?;
        if !members.iter().any(|member| member.is_leader && member.name == host) {
            return Ok(Vec::new());
        }
        // Only the leader itself can give its office away.
        self.etcd(&hosts, EtcdRequest::MoveLeader { to: to.to_owned() }).await?;
        Ok(vec![format!("{to} leads etcd instead of {host}")])
    }

    pub(super) async fn etcd_remove(&self, host: &str, hosts: &[String]) -> Lines {
        let members = self.etcd(hosts, EtcdRequest::Members).await?;
        if !members.iter().any(|member| member.name == host) {
            return Ok(Vec::new());
        }
        self.etcd(hosts, EtcdRequest::Remove { name: host.to_owned() }).await?;
        Ok(vec![format!("remove {host} from etcd")])
    }
}
