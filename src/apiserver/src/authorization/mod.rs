//! Who may do what: RBAC from the stored roles and bindings, compiled once per change; for nodes, what their own pods
//! need.

mod cover;
mod node;
mod policy;
mod rules;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::authentication::MASTERS;
use crate::chain::{Authorizer, ObjectReader, RequestInfo, UserInfo};
use crate::status::ApiError;

pub(crate) use cover::{describe_uncovered, uncovered};
pub(crate) use policy::{Policy, rules_of};
pub(crate) use rules::{Rule, quoted_list};

pub(crate) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// Paths open to everybody, so that load balancers can probe without credentials.
const ALWAYS_ALLOWED_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];
const POLICY_KINDS: [&str; 4] = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];

/// An answer with its reason, as a SubjectAccessReview reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

struct Compiled {
    revisions: [u64; 4],
    policy: Arc<Policy>,
}

/// The RBAC authorizer, with the Node authorizer before it.
pub struct Rbac {
    reader: Arc<dyn ObjectReader>,
    compiled: ArcSwapOption<Compiled>,
    compiling: Mutex<()>,
}

impl Rbac {
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader, compiled: ArcSwapOption::empty(), compiling: Mutex::new(()) }
    }

    /// The answer for one request of one user.
    pub fn decide(&self, user: &UserInfo, info: &RequestInfo) -> Decision {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        if !info.is_resource && ALWAYS_ALLOWED_PATHS.contains(&info.path.as_str()) {
            return Decision { allowed: true, reason: String::new() };
        }
        node::decide(&*self.reader, user, info).unwrap_or_else(|| self.policy().decide(user, info))
    }

    /// The rules in force, compiled anew when a role or binding has changed.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let revisions = POLICY_KINDS.map(|plural| self.reader.revision_of(RBAC_GROUP, plural));
        let current = |compiled: &Option<Arc<Compiled>>| {
            compiled.as_ref().filter(|c| c.revisions == revisions).map(|c| Arc::clone(&c.policy))
        };
        if let Some(policy) = current(&self.compiled.load()) {
            return policy;
        }
        let _one_at_a_time = self.compiling.lock();
        if let Some(policy) = current(&self.compiled.load()) {
            return policy;
        }
        let policy = Arc::new(Policy::compile(&*self.reader));
        self.compiled.store(Some(Arc::new(Compiled { revisions, policy: Arc::clone(&policy) })));
        policy
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), ApiError> {
        let decision = self.decide(user, info);
        if decision.allowed { Ok(()) } else { Err(forbidden(user, info, &decision.reason)) }
    }
}

/// The 403 as upstream words it.
fn forbidden(user: &UserInfo, info: &RequestInfo, reason: &str) -> ApiError {
    let mut why = format!("User {:?} cannot {}", user.username, attempt(info));
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if info.is_resource {
        return ApiError::forbidden(&info.api_group, &info.resource, &info.name, &why);
    }
    let mut error = ApiError::new(403, "Forbidden", format!("forbidden: {why}"));
    error.details = Some(serde_json::json!({}));
    error
}

fn attempt(info: &RequestInfo) -> String {
    if !info.is_resource {
        return format!("{} path {:?}", info.verb, info.path);
    }
    let resource = match info.subresource.as_str() {
        "" => info.resource.clone(),
        subresource => format!("{}/{subresource}", info.resource),
    };
    let place = match info.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!("{} resource {resource:?} in API group {:?} {place}", info.verb, info.api_group)
}

#[cfg(test)]
pub(crate) mod tests;
