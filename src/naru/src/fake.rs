//! A fleet in memory for this crate's own tests: hosts that cannot be reached, and agents with prepared answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use naru_agent::{Failure, FailureKind, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_observe::{AgentError, Fleet, HostAgent, Problem};

/// One control plane and two workers.
pub(crate) fn inventory() -> Inventory {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  hosts:\n    \
                - {name: cp1, role: control-plane, address: 10.0.0.11}\n    \
                - {name: w1, role: worker, address: 10.0.0.21}\n    \
                - {name: w2, role: worker, address: 10.0.0.22}\n";
    naru_inventory::parse("cluster.yaml", text).unwrap()
}

#[derive(Default)]
pub(crate) struct Fake {
    problems: BTreeMap<String, Problem>,
    answers: BTreeMap<String, Arc<Agent>>,
    /// Hosts in the order in which they were connected to.
    pub(crate) connected: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Agent {
    answers: Mutex<Vec<Response>>,
}

impl Fake {
    pub(crate) fn unreachable(mut self, host: &str, problem: Problem) -> Self {
        self.problems.insert(host.to_owned(), problem);
        self
    }

    /// The host's agent gives this answer to the first request that it fits, once.
    pub(crate) fn answering(mut self, host: &str, response: Response) -> Self {
        self.answers.entry(host.to_owned()).or_default().answers.lock().unwrap().push(response);
        self
    }
}

impl Fleet for Fake {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        self.connected.lock().unwrap().push(host.name.clone());
        Box::pin(async move {
            match self.problems.get(&host.name) {
                Some(problem) => Err(problem.clone()),
                None => Ok(self.answers.get(&host.name).cloned().unwrap_or_default() as Arc<dyn HostAgent>),
            }
        })
    }

    fn forget<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn set_fence(&self, _fence: u64) {}

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        self.connect(host)
    }
}

impl HostAgent for Agent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        let mut answers = self.answers.lock().unwrap();
        let fits = |response: &Response| match &request {
            Request::Diagnose => matches!(response, Response::Diagnosis { .. }),
            Request::UnitLog { .. } => matches!(response, Response::Log { .. }),
            Request::Api(_) => matches!(response, Response::Api(_)),
            Request::Facts => matches!(response, Response::Facts(_)),
            Request::Check { .. } => matches!(response, Response::Checked(_)),
            Request::Run { .. } => matches!(response, Response::Ran { .. }),
            _ => false,
        };
        let answer = answers.iter().position(fits).map(|index| answers.remove(index));
        Box::pin(async move {
            answer.ok_or_else(|| {
                let message = "this agent does not answer that".to_owned();
                AgentError::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None })
            })
        })
    }

    fn upload<'a>(
        &'a self,
        _sha256: &'a str,
        _path: &'a Path,
        _offset_bytes: u64,
        _sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(async { Ok(()) })
    }
}
