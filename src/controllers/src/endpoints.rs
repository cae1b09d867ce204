//! Endpoint slices (and the older Endpoints object) of Services: which pods serve them right now.
//! A pod that begins to end leaves the ready set with the event that says so; rolling updates lose no request by that.

mod build;
mod legacy;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use crate::context::{Context, SLICE_MANAGER};
use crate::runtime::{Error, ObjectKey, Queue, Result, Shutdown, Tasks, meta, run_workers, selector};

const WORKERS: usize = 4;
const PER_SLICE: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";

#[derive(Clone)]
pub(crate) struct Controller {
    context: Context,
    queue: Arc<Queue<ObjectKey>>,
    legacy: legacy::Writer,
}

impl Controller {
    pub(crate) fn new(context: &Context) -> Self {
        let legacy = legacy::Writer::new(context.client.clone());
        let this = Self { context: context.clone(), queue: Arc::default(), legacy };
        let queue = Arc::clone(&this.queue);
        context.services.on_change(move |old, new| {
            if let Some(service) = new.or(old) {
                queue.add(ObjectKey::of(&**service));
            }
        });
        let (queue, services) = (Arc::clone(&this.queue), context.services.clone());
        context.pods.on_change(move |old, new| {
            let Some(pod) = new.or(old) else { return };
            if let (Some(old), Some(new)) = (old, new)
                && build::same_for_services(old, new)
            {
                return;
            }
            for service in services.in_namespace(meta::namespace(&pod.metadata)) {
                let selected = |pod: Option<&Arc<Pod>>| {
                    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                    pod.zip(selector).is_some_and(|(pod, s)| selector::matches_map(s, pod.metadata.labels.as_ref()))
                };
                if selected(old) || selected(new) {
                    queue.add(ObjectKey::of(&*service));
                }
            }
        });
        let queue = Arc::clone(&this.queue);
        context.endpoint_slices.on_change(move |old, new| {
            let Some(slice) = new.or(old) else { return };
            if let Some(service) = meta::label(&slice.metadata, SERVICE_NAME) {
                queue.add(ObjectKey::new(meta::namespace(&slice.metadata), service));
            }
        });
        this
    }

    pub(crate) fn run(&self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let this = self.clone();
        run_workers(tasks, "endpointslice", WORKERS, &self.queue, shutdown, move |key| {
            let this = this.clone();
            async move { this.reconcile(key).await }
        });
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<()> {
        // Without a service the collector removes the slices through their owner reference.
        let Some(service) = self.context.services.get(&key) else { return self.legacy.remove(&key).await };
        let Some(spec) = service.spec.as_ref() else { return Ok(()) };
        let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else { return Ok(()) };
        if spec.type_.as_deref() == Some("ExternalName") || meta::is_deleting(&service.metadata) {
            return Ok(());
        }
        let mut pods = self.context.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selector::matches_map(selector, pod.metadata.labels.as_ref()));
        let zone = |node: &str| {
            let node = self.context.nodes.get_named("", node)?;
            meta::label(&node.metadata, "topology.kubernetes.io/zone").map(str::to_owned)
        };
        let groups = build::groups(&service, &pods, zone);
        self.legacy.write(&service, &groups).await?;
        let mut existing = self.context.endpoint_slices.in_namespace(&key.namespace);
        existing.retain(|slice| meta::label(&slice.metadata, SERVICE_NAME) == Some(&key.name));
        self.write(&service, groups, existing).await
    }

    async fn write(
        &self,
        service: &Service,
        groups: Vec<build::Group>,
        existing: Vec<Arc<EndpointSlice>>,
    ) -> Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), meta::namespace(&service.metadata));
        let plan = plan(service, groups, existing);
        for slice in &plan.create {
            match api.create(&PostParams::default(), slice).await.map_err(Error::from) {
                Ok(_) => {}
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for slice in &plan.update {
            api.replace(meta::name(&slice.metadata), &PostParams::default(), slice).await?;
        }
        for slice in &plan.delete {
            let preconditions = Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
            let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(meta::name(&slice.metadata), &how).await.map_err(Error::from) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Plan {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<Arc<EndpointSlice>>,
}

/// The least writing that makes the slices say what `groups` say: an endpoint stays in the slice it is in.
fn plan(service: &Service, groups: Vec<build::Group>, existing: Vec<Arc<EndpointSlice>>) -> Plan {
    let mut plan = Plan::default();
    let mut unused: Vec<Arc<EndpointSlice>> =
        existing.into_iter().filter(|s| !meta::is_deleting(&s.metadata)).collect();
    for group in groups {
        let (ports, family) = (group.ports, group.family);
        let (mine, rest): (Vec<_>, Vec<_>) = unused
            .into_iter()
            .partition(|slice| slice.address_type == family && slice.ports.clone().unwrap_or_default() == ports);
        unused = rest;
        place(service, &ports, family, group.endpoints, mine, &mut plan);
    }
    plan.delete.extend(unused);
    plan
}

fn place(
    service: &Service,
    ports: &[EndpointPort],
    family: &'static str,
    endpoints: Vec<Endpoint>,
    mine: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let identity = |endpoint: &Endpoint| {
        let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
        (endpoint.addresses.first().cloned().unwrap_or_default(), target)
    };
    let mut wanted: BTreeMap<_, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut contents: Vec<Vec<Endpoint>> = Vec::with_capacity(mine.len());
    for slice in &mine {
        let kept = slice.endpoints.iter().flatten().filter_map(|old| wanted.remove(&identity(old)));
        contents.push(kept.collect());
    }
    let mut left = wanted.into_values().peekable();
    for content in &mut contents {
        while content.len() < PER_SLICE && left.peek().is_some() {
            content.extend(left.next());
        }
    }
    let mut kept_any = false;
    let only_empty = contents.iter().all(Vec::is_empty) && left.peek().is_none();
    for (slice, content) in mine.into_iter().zip(contents) {
        // One empty slice stays, to say: there is nobody.
        if content.is_empty() && (kept_any || !only_empty) {
            plan.delete.push(slice);
            continue;
        }
        kept_any = true;
        let mut fresh = build_slice(service, ports, family, content);
        fresh.metadata.name.clone_from(&slice.metadata.name);
        fresh.metadata.generate_name = None;
        fresh.metadata.resource_version.clone_from(&slice.metadata.resource_version);
        let same = fresh.endpoints.as_deref().unwrap_or_default() == slice.endpoints.as_deref().unwrap_or_default()
            && fresh.metadata.labels == slice.metadata.labels;
        if !same {
            plan.update.push(fresh);
        }
    }
    while left.peek().is_some() || !kept_any {
        let content = left.by_ref().take(PER_SLICE).collect();
        plan.create.push(build_slice(service, ports, family, content));
        kept_any = true;
    }
}

fn build_slice(service: &Service, ports: &[EndpointPort], family: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.into(), meta::name(&service.metadata).into());
    labels.insert(MANAGED_BY.into(), SLICE_MANAGER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", meta::name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![meta::controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.into(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "a"}},
            "spec": {"clusterIP": "None", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        }))
        .unwrap()
    }

    fn pod(index: usize, ready: bool, deleting: bool) -> Arc<Pod> {
        let mut value = json!({
            "metadata": {"name": format!("p{index}"), "namespace": "n", "uid": format!("u{index}"),
                "labels": {"app": "web"}},
            "spec": {"nodeName": "w1", "containers": [{"name": "c", "ports": [{"name": "http",
                "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.{}.{}", index / 250, index % 250),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        });
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn stored(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
        let name = |(index, mut slice): (usize, EndpointSlice)| {
            slice.metadata.name = Some(format!("web-{index}"));
            Arc::new(slice)
        };
        slices.into_iter().enumerate().map(name).collect()
    }

    #[test]
    fn slices_are_bounded_and_stable() {
        let pods: Vec<_> = (0..230).map(|index| pod(index, true, false)).collect();
        let first = plan(&service(), build::groups(&service(), &pods, |_| None), Vec::new());
        let sizes: Vec<_> = first.create.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 30]);
        assert!(first.create[0].metadata.labels.as_ref().unwrap().contains_key(HEADLESS));
        let existing = stored(first.create);
        let again = plan(&service(), build::groups(&service(), &pods, |_| None), existing.clone());
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        let mut fewer = pods.clone();
        fewer[0] = pod(0, true, true);
        let changed = plan(&service(), build::groups(&service(), &fewer, |_| None), existing);
        assert_eq!((changed.create.len(), changed.update.len(), changed.delete.len()), (0, 1, 0));
        let conditions = changed.update[0].endpoints.as_ref().unwrap()[0].conditions.as_ref().unwrap();
        assert_eq!(
            (conditions.ready, conditions.serving, conditions.terminating),
            (Some(false), Some(true), Some(true))
        );
    }

    #[test]
    fn nobody_is_one_empty_slice() {
        let empty = plan(&service(), build::groups(&service(), &[], |_| None), Vec::new());
        assert_eq!(empty.create.len(), 1);
        let again = plan(&service(), build::groups(&service(), &[], |_| None), stored(empty.create));
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    }
}
