//! Which kinds the server has, from its own discovery documents: each once, at its preferred version.

use kube::Client;
use kube::core::ApiResource;

use crate::runtime::Result;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Kind {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// A group that cannot be read is left out with a warning: one broken extension must not stop collection of everything
/// else.
pub(crate) async fn kinds(client: &Client) -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    let core = client.list_core_api_resources("v1").await?;
    kinds.extend(core.resources.into_iter().filter_map(|resource| kind("", "v1", resource)));
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(version) = preferred.map(|version| version.version.clone()) else { continue };
        match client.list_api_group_resources(&format!("{}/{version}", group.name)).await {
            Ok(list) => {
                kinds.extend(list.resources.into_iter().filter_map(|resource| kind(&group.name, &version, resource)));
            }
            Err(error) => tracing::warn!(group = group.name, %error, "discovery of one group failed"),
        }
    }
    Ok(kinds)
}

fn kind(
    group: &str,
    version: &str,
    resource: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource,
) -> Option<Kind> {
    if resource.name.contains('/') {
        return None;
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Kind {
        resource: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: resource.kind,
            plural: resource.name,
        },
        namespaced: resource.namespaced,
        verbs: resource.verbs,
    })
}
