//! What a write has to pass, and what it is given on the way, before it is validated and stored.

mod escalation;
pub(crate) mod fields;
mod namespace;
mod node;
mod priority;
mod service;
mod service_account;
mod service_addresses;
mod tolerations;

use std::sync::Arc;

use naru_api::Resource;
use serde_json::Value;

use crate::authorization::Rbac;
use crate::chain::{Admission, AdmissionRequest, ObjectReader};
use crate::status::ApiError;

pub use service_addresses::{AddressRange, NodePorts, RangeError, ServiceAddresses};

/// The admission chain. Steps that change come first, in upstream's order; judges follow.
pub struct AdmissionChain {
    reader: Arc<dyn ObjectReader>,
    rbac: Arc<Rbac>,
    addresses: ServiceAddresses,
}

impl AdmissionChain {
    pub fn new(reader: Arc<dyn ObjectReader>, rbac: Arc<Rbac>, service_range: AddressRange) -> Self {
        Self { addresses: ServiceAddresses::new(service_range, Arc::clone(&reader)), reader, rbac }
    }

    /// With other ports for Services than upstream's.
    #[must_use]
    pub fn with_node_ports(mut self, node_ports: NodePorts) -> Self {
        self.addresses.node_ports = node_ports;
        self
    }
}

impl Admission for AdmissionChain {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let reader = &*self.reader;
        namespace::admit(reader, request)?;
        node::admit(reader, request)?;
        node::taint_new(request);
        service_account::admit(reader, request)?;
        priority::admit(reader, request)?;
        tolerations::admit(request);
        escalation::admit(&self.rbac, request)?;
        // Last, because it reserves: nothing after it may fail.
        service::admit(&self.addresses, request)
    }

    fn settled(&self, resource: &Resource, object: &Value, _committed: bool) {
        if resource.group.is_empty() && resource.plural == "services" {
            self.addresses.release(&service_addresses::owner_of(object));
        }
    }
}

#[cfg(test)]
mod tests;
