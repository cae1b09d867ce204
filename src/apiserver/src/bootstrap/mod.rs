//! Objects that every cluster has, made or completed at start through the same path as any client's.

mod objects;
mod policy;
mod reconcile;

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;

use futures::StreamExt;
use http::Method;
use serde_json::Value;

use crate::admission::AddressRange;
use crate::chain::ObjectReader;
use crate::status::ApiError;

/// Writes in flight at once: enough for the store to commit them in groups.
const CONCURRENT_WRITES: usize = 32;

/// The server's own front door, used as a member of `system:masters`.
pub trait ObjectWriter: Send + Sync {
    /// Sends one request; gives the object that comes back.
    fn request<'a>(
        &'a self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;
}

/// What of the cluster's configuration goes into its first objects.
#[derive(Debug, Clone)]
pub struct BootstrapConfig {
    pub advertise_address: Ipv4Addr,
    pub port: u16,
    pub service_range: AddressRange,
    pub dns_service_address: Ipv4Addr,
    pub certificate_authority_pem: String,
}

/// Where an object lives.
pub(crate) struct Target {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) object: Value,
}

impl Target {
    fn namespace(&self) -> &str {
        crate::admission::fields::text(&self.object, "/metadata/namespace")
    }

    fn name(&self) -> &str {
        crate::admission::fields::text(&self.object, "/metadata/name")
    }

    fn collection_path(&self) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match self.namespace() {
            "" => format!("{root}/{}", self.plural),
            namespace => format!("{root}/namespaces/{namespace}/{}", self.plural),
        }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection_path(), self.name())
    }
}

/// Brings the cluster's own objects into being. Idempotent; what users added stays. Ends at the first error that is
/// not somebody else's having done the same.
pub async fn bootstrap(
    reader: &dyn ObjectReader,
    writer: &dyn ObjectWriter,
    config: &BootstrapConfig,
) -> Result<(), ApiError> {
    apply_all(reader, writer, objects::namespaces()).await?;
    let mut targets = objects::priority_classes();
    targets.extend(policy::targets());
    targets.extend(objects::services(config));
    targets.extend(objects::configuration(config));
    apply_all(reader, writer, targets).await?;
    apply_all(reader, writer, objects::endpoints(config)).await
}

async fn apply_all(reader: &dyn ObjectReader, writer: &dyn ObjectWriter, targets: Vec<Target>) -> Result<(), ApiError> {
    let writes = futures::stream::iter(targets).map(|target| reconcile::apply(reader, writer, target));
    let mut results = writes.buffer_unordered(CONCURRENT_WRITES);
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
