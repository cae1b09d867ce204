//! Rows of the core group.

use super::{
    ALL_CATEGORY, CREATE, CREATE_GET, GET_PATCH_UPDATE, NAMESPACE_VERBS, PLAIN, PROXY_VERBS, SCALE, row, status,
    subresource,
};
use crate::resource::Scope::{Cluster, Namespaced};
use crate::resource::{Resource, Strategy, Subresource};
use crate::{defaults, print, validate};

const V1: (&str, &str) = ("", "v1");

const POD_SUBRESOURCES: &[Subresource] = &[
    subresource("attach", "", "v1", "PodAttachOptions", CREATE_GET),
    subresource("binding", "", "v1", "Binding", CREATE),
    subresource("ephemeralcontainers", "", "v1", "Pod", GET_PATCH_UPDATE),
    subresource("eviction", "policy", "v1", "Eviction", CREATE),
    subresource("exec", "", "v1", "PodExecOptions", CREATE_GET),
    subresource("log", "", "v1", "Pod", &["get"]),
    subresource("portforward", "", "v1", "PodPortForwardOptions", CREATE_GET),
    subresource("proxy", "", "v1", "PodProxyOptions", PROXY_VERBS),
    subresource("resize", "", "v1", "Pod", GET_PATCH_UPDATE),
    status("", "v1", "Pod"),
];

pub(super) const ROWS: &[Resource] = &[
    Resource { verbs: CREATE, ..row(V1, "Binding", "bindings", "binding", Namespaced) },
    Resource {
        short_names: &["cm"],
        columns: print::CONFIG_MAP,
        strategy: Strategy { validate: validate::config_map, validate_update: validate::config_map_update, ..PLAIN },
        ..row(V1, "ConfigMap", "configmaps", "configmap", Namespaced)
    },
    Resource {
        short_names: &["ep"],
        columns: print::ENDPOINTS,
        strategy: Strategy { default: defaults::endpoints, create_on_update: true, ..PLAIN },
        ..row(V1, "Endpoints", "endpoints", "endpoints", Namespaced)
    },
    Resource {
        short_names: &["ev"],
        fields: &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
            ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
            ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
            ("reason", "/reason"),
            ("reportingComponent", "/reportingComponent"),
            ("source", "/source/component|/reportingComponent"),
            ("type", "/type"),
        ],
        columns: print::EVENT,
        strategy: Strategy { default: defaults::event, create_on_update: true, ..PLAIN },
        ..row(V1, "Event", "events", "event", Namespaced)
    },
    Resource {
        short_names: &["limits"],
        strategy: Strategy { default: defaults::limit_range, create_on_update: true, ..PLAIN },
        ..row(V1, "LimitRange", "limitranges", "limitrange", Namespaced)
    },
    Resource {
        short_names: &["ns"],
        verbs: NAMESPACE_VERBS,
        subresources: &[subresource("finalize", "", "v1", "Namespace", &["update"]), status("", "v1", "Namespace")],
        fields: &[("status.phase", "/status/phase")],
        columns: print::NAMESPACE,
        strategy: Strategy { default: defaults::namespace, validate: validate::namespace, ..PLAIN },
        ..row(V1, "Namespace", "namespaces", "namespace", Cluster)
    },
    Resource {
        short_names: &["no"],
        subresources: &[subresource("proxy", "", "v1", "NodeProxyOptions", PROXY_VERBS), status("", "v1", "Node")],
        fields: &[("spec.unschedulable", "/spec/unschedulable")],
        columns: print::NODE,
        strategy: Strategy {
            default: defaults::node,
            validate: validate::node,
            validate_update: validate::node_update,
            ..PLAIN
        },
        ..row(V1, "Node", "nodes", "node", Cluster)
    },
    Resource {
        short_names: &["pvc"],
        subresources: &[status("", "v1", "PersistentVolumeClaim")],
        columns: print::PERSISTENT_VOLUME_CLAIM,
        strategy: Strategy {
            default: defaults::persistent_volume_claim,
            validate: validate::persistent_volume_claim,
            validate_update: validate::persistent_volume_claim_update,
            ..PLAIN
        },
        ..row(V1, "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", Namespaced)
    },
    Resource {
        short_names: &["pv"],
        subresources: &[status("", "v1", "PersistentVolume")],
        columns: print::PERSISTENT_VOLUME,
        strategy: Strategy { default: defaults::persistent_volume, validate: validate::persistent_volume, ..PLAIN },
        ..row(V1, "PersistentVolume", "persistentvolumes", "persistentvolume", Cluster)
    },
    Resource {
        short_names: &["po"],
        categories: ALL_CATEGORY,
        subresources: POD_SUBRESOURCES,
        fields: &[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("spec.schedulerName", "/spec/schedulerName"),
            ("spec.serviceAccountName", "/spec/serviceAccountName"),
            ("spec.hostNetwork", "/spec/hostNetwork"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
            ("status.nominatedNodeName", "/status/nominatedNodeName"),
        ],
        columns: print::POD,
        strategy: Strategy {
            default: defaults::pod,
            validate: validate::pod,
            validate_update: validate::pod_update,
            generation: true,
            graceful_deletion: true,
            ..PLAIN
        },
        ..row(V1, "Pod", "pods", "pod", Namespaced)
    },
    Resource {
        columns: print::POD_TEMPLATE,
        strategy: Strategy {
            default: defaults::pod_template,
            validate: validate::pod_template,
            generation: true,
            create_on_update: true,
            ..PLAIN
        },
        ..row(V1, "PodTemplate", "podtemplates", "podtemplate", Namespaced)
    },
    Resource {
        short_names: &["rc"],
        categories: ALL_CATEGORY,
        subresources: &[SCALE, status("", "v1", "ReplicationController")],
        fields: &[("status.replicas", "/status/replicas")],
        columns: print::REPLICATION_CONTROLLER,
        strategy: Strategy {
            default: defaults::replication_controller,
            validate: validate::replication_controller,
            generation: true,
            ..PLAIN
        },
        ..row(V1, "ReplicationController", "replicationcontrollers", "replicationcontroller", Namespaced)
    },
    Resource {
        short_names: &["quota"],
        subresources: &[status("", "v1", "ResourceQuota")],
        columns: print::RESOURCE_QUOTA,
        strategy: Strategy { default: defaults::resource_quota, ..PLAIN },
        ..row(V1, "ResourceQuota", "resourcequotas", "resourcequota", Namespaced)
    },
    Resource {
        fields: &[("type", "/type")],
        columns: print::SECRET,
        strategy: Strategy {
            default: defaults::secret,
            validate: validate::secret,
            validate_update: validate::secret_update,
            ..PLAIN
        },
        ..row(V1, "Secret", "secrets", "secret", Namespaced)
    },
    Resource {
        short_names: &["sa"],
        subresources: &[subresource("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        columns: print::SERVICE_ACCOUNT,
        strategy: Strategy { validate: validate::service_account, ..PLAIN },
        ..row(V1, "ServiceAccount", "serviceaccounts", "serviceaccount", Namespaced)
    },
    Resource {
        short_names: &["svc"],
        categories: ALL_CATEGORY,
        subresources: &[
            subresource("proxy", "", "v1", "ServiceProxyOptions", PROXY_VERBS),
            status("", "v1", "Service"),
        ],
        fields: &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")],
        columns: print::SERVICE,
        strategy: Strategy {
            default: defaults::service,
            validate: validate::service,
            validate_update: validate::service_update,
            create_on_update: true,
            ..PLAIN
        },
        ..row(V1, "Service", "services", "service", Namespaced)
    },
];
