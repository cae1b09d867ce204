//! The environment of a container: service links, envFrom, env, and `$(NAME)` references.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Service};

use crate::Context;
use crate::objects::ObjectError;
use crate::pod::{PodExt, find_container, spec};
use crate::quantity::{divided, parse_nano};

#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { key: String, kind: &'static str, namespace: String, name: String },
    #[error("key {key} in Secret {name} is not valid UTF-8")]
    NotText { key: String, name: String },
    #[error("unsupported fieldPath: {path}")]
    Field { path: String },
    #[error("container {name} not found")]
    Container { name: String },
    #[error("unsupported container resource: {resource}")]
    Resource { resource: String },
}

/// What downward API references may name beyond the pod object itself.
pub(crate) struct Facts<'a> {
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    pub host_ip: String,
    pub cpu_capacity_millis: i64,
    pub memory_capacity_bytes: i64,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(context: &Context, pod: &'a Pod, pod_ips: &'a [String]) -> Self {
        Self {
            pod,
            pod_ips,
            host_ip: context.config.address.to_string(),
            cpu_capacity_millis: context.machine.cpus * 1000,
            memory_capacity_bytes: context.machine.memory_bytes,
        }
    }

    pub(crate) fn field(&self, selector: &ObjectFieldSelector) -> Result<String, EnvError> {
        let metadata = &self.pod.metadata;
        let path = selector.field_path.as_str();
        if let Some((map, key)) = subscript(path) {
            let map = if map == "metadata.labels" { &metadata.labels } else { &metadata.annotations };
            return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => self.pod.name().to_owned(),
            "metadata.namespace" => self.pod.namespace().to_owned(),
            "metadata.uid" => self.pod.uid().to_owned(),
            "metadata.labels" => lines(metadata.labels.as_ref()),
            "metadata.annotations" => lines(metadata.annotations.as_ref()),
            "spec.nodeName" => spec(self.pod).node_name.clone().unwrap_or_default(),
            "spec.serviceAccountName" => spec(self.pod).service_account_name.clone().unwrap_or_default(),
            "status.hostIP" | "status.hostIPs" => self.host_ip.clone(),
            "status.podIP" => self.pod_ips.first().cloned().unwrap_or_default(),
            "status.podIPs" => self.pod_ips.join(","),
            _ => return Err(EnvError::Field { path: path.to_owned() }),
        })
    }

    /// `container` is the one whose environment this is; files must name theirs.
    pub(crate) fn resource(&self, selector: &ResourceFieldSelector, container: &str) -> Result<String, EnvError> {
        let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(container);
        let found = find_container(self.pod, name).ok_or_else(|| EnvError::Container { name: name.to_owned() })?;
        let unsupported = || EnvError::Resource { resource: selector.resource.clone() };
        let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
        let resources = found.resources.as_ref();
        let pick = |limits: bool| {
            let list = resources.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
            list.and_then(|list| list.get(resource)).and_then(|quantity| parse_nano(&quantity.0))
        };
        let capacity = match resource {
            "cpu" => i128::from(self.cpu_capacity_millis) * 1_000_000,
            "memory" => i128::from(self.memory_capacity_bytes) * 1_000_000_000,
            _ => 0,
        };
        let nano = match list {
            "limits" => pick(true).unwrap_or(capacity),
            "requests" => pick(false).or_else(|| pick(true)).unwrap_or(0),
            _ => return Err(unsupported()),
        };
        let divisor = selector.divisor.clone().unwrap_or_default();
        Ok(divided(nano, &divisor).to_string())
    }
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?)).filter(|(map, _)| matches!(*map, "metadata.labels" | "metadata.annotations"))
}

/// A map as downward API files print it: one quoted value per line, sorted by key.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The environment in order; a later entry of the same name replaces the earlier one in place.
#[derive(Default)]
struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }
}

pub(crate) async fn build(
    context: &Context,
    facts: &Facts<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut environment = Environment::default();
    for (name, value) in service_variables(context, facts.pod).await? {
        environment.set(name, value);
    }
    let services = environment.values.clone();
    // References see services and what was set before them, not service links that were overridden later.
    env_from(context, facts.pod, container, &mut environment).await?;
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => value_from(context, facts, container, source).await?,
            None => {
                let text = variable.value.as_deref().unwrap_or_default();
                Some(expand(text, |name| environment.values.get(name).or_else(|| services.get(name)).cloned()))
            }
        };
        if let Some(value) = value {
            environment.set(variable.name.clone(), value);
        }
    }
    let Environment { order, mut values } = environment;
    Ok(order.into_iter().filter_map(|name| values.remove(&name).map(|value| (name, value))).collect())
}

async fn env_from(
    context: &Context,
    pod: &Pod,
    container: &Container,
    environment: &mut Environment,
) -> Result<(), EnvError> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let found = context.objects.config_map(pod.namespace(), &reference.name).await;
            let Some(map) = optional(found, reference.optional)? else { continue };
            for (key, value) in map.data.iter().flatten() {
                environment.set(format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(reference) = &source.secret_ref {
            let found = context.objects.secret(pod.namespace(), &reference.name).await;
            let Some(secret) = optional(found, reference.optional)? else { continue };
            for (key, value) in secret.data.iter().flatten() {
                let text = String::from_utf8(value.0.clone())
                    .map_err(|_| EnvError::NotText { key: key.clone(), name: reference.name.clone() })?;
                environment.set(format!("{prefix}{key}"), text);
            }
        }
    }
    Ok(())
}

fn optional<T>(found: Result<T, ObjectError>, optional: Option<bool>) -> Result<Option<T>, ObjectError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(ObjectError::NotFound { .. }) if optional == Some(true) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn value_from(
    context: &Context,
    facts: &Facts<'_>,
    container: &Container,
    source: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    let namespace = facts.pod.namespace();
    if let Some(selector) = &source.field_ref {
        return facts.field(selector).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return facts.resource(selector, &container.name).map(Some);
    }
    let missing = |key: &str, kind, name: &str| EnvError::MissingKey {
        key: key.to_owned(),
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    if let Some(selector) = &source.config_map_key_ref {
        let found = context.objects.config_map(namespace, &selector.name).await;
        let Some(map) = optional(found, selector.optional)? else { return Ok(None) };
        let value = map.data.as_ref().and_then(|data| data.get(&selector.key)).cloned();
        return match value {
            None if selector.optional != Some(true) => Err(missing(&selector.key, "ConfigMap", &selector.name)),
            value => Ok(value),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let found = context.objects.secret(namespace, &selector.name).await;
        let Some(secret) = optional(found, selector.optional)? else { return Ok(None) };
        let value = secret.data.as_ref().and_then(|data| data.get(&selector.key)).map(|bytes| bytes.0.clone());
        return match value {
            Some(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| EnvError::NotText { key: selector.key.clone(), name: selector.name.clone() }),
            None if selector.optional == Some(true) => Ok(None),
            None => Err(missing(&selector.key, "Secret", &selector.name)),
        };
    }
    Ok(None)
}

/// `default/kubernetes` always; the namespace's own services unless enableServiceLinks is false.
async fn service_variables(context: &Context, pod: &Pod) -> Result<Vec<(String, String)>, EnvError> {
    let mut variables = Vec::new();
    let links = spec(pod).enable_service_links.unwrap_or(true);
    let own = if links { Some(context.objects.services(pod.namespace()).await?) } else { None };
    let own_has_kubernetes = links && pod.namespace() == "default";
    if !own_has_kubernetes {
        let default = context.objects.services("default").await?;
        for service in default.iter().filter(|service| service.metadata.name.as_deref() == Some("kubernetes")) {
            variables.extend(variables_of(service));
        }
    }
    for service in own.iter().flat_map(|services| services.iter()) {
        variables.extend(variables_of(service));
    }
    Ok(variables)
}

fn variables_of(service: &Service) -> Vec<(String, String)> {
    let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else { return Vec::new() };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ip.is_empty() || ip == "None" || ports.is_empty() {
        return Vec::new();
    }
    let prefix = name.replace(['-', '.'], "_").to_uppercase();
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), ports[0].port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = name.replace('-', "_").to_uppercase();
            variables.push((format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            variables.push((format!("{prefix}_PORT"), url.clone()));
        }
        let base = format!("{prefix}_PORT_{}_{protocol}", port.port);
        variables.push((format!("{base}_PROTO"), protocol.to_lowercase()));
        variables.push((format!("{base}_PORT"), port.port.to_string()));
        variables.push((format!("{base}_ADDR"), ip.to_owned()));
        variables.push((base, url));
    }
    variables
}

/// Replaces `$(NAME)`; unknown names stay as they are, `$$` stands for one `$`.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        output.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => output.push_str(&value),
                None => output.push_str(&rest[start..start + name.len() + 3]),
            }
            rest = tail;
        } else {
            output.push('$');
            rest = after;
        }
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_references() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("x$(A)y$(B)$$(A)$A$", lookup), "x1y$(B)$(A)$A$");
        assert_eq!(expand("$(A", lookup), "$(A");
    }

    #[test]
    fn service_links() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "my-web"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}]}
        }))
        .unwrap();
        let variables: BTreeMap<_, _> = variables_of(&service).into_iter().collect();
        assert_eq!(variables["MY_WEB_SERVICE_HOST"], "10.96.0.7");
        assert_eq!(variables["MY_WEB_SERVICE_PORT_HTTP"], "80");
        assert_eq!(variables["MY_WEB_PORT_80_TCP"], "tcp://10.96.0.7:80");
    }

    #[test]
    fn downward_fields() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "labels": {"b": "2", "a": "1"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]}
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            pod_ips: &[],
            host_ip: "h".into(),
            cpu_capacity_millis: 2000,
            memory_capacity_bytes: 1,
        };
        let field = |path: &str| facts.field(&ObjectFieldSelector { field_path: path.into(), api_version: None });
        assert_eq!(field("metadata.labels").unwrap(), "a=\"1\"\nb=\"2\"");
        assert_eq!(field("metadata.labels['b']").unwrap(), "2");
        assert!(field("status.phase").is_err());
        let resource = |name: &str| {
            facts.resource(&ResourceFieldSelector { resource: name.into(), ..Default::default() }, "c").unwrap()
        };
        assert_eq!(resource("limits.memory"), (64 << 20).to_string());
        assert_eq!(resource("limits.cpu"), "2");
        assert_eq!(resource("requests.cpu"), "0");
    }
}
