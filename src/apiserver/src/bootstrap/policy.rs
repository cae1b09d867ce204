//! The RBAC that every cluster starts with, as tables. Names and rights are those of upstream, so that stock
//! components and users' own bindings find what they expect.

use serde_json::{Value, json};

use super::Target;
use crate::authorization::RBAC_GROUP;

/// Verbs, API groups, resources; each separated by spaces, the core group written `core`.
/// A rule of paths has the group `path`.
type RuleRow = (&'static str, &'static str, &'static str);

const READ: &str = "get list watch";
const WRITE: &str = "create update patch delete deletecollection";
const ALL: &str = "get list watch create update patch delete deletecollection";
const EVENTS: RuleRow = ("create patch update", "core events.k8s.io", "events");
const WORKLOADS: &str = "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets \
    statefulsets/scale";

/// Where a role is gathered into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gather {
    No,
    View,
    Edit,
    Admin,
    /// Upstream's `edit` gathers into `admin`, `view` into `edit`.
    IntoAdmin,
    IntoEdit,
    IntoView,
}

struct RoleRow {
    name: &'static str,
    gather: Gather,
    rules: &'static [RuleRow],
}

const fn role(name: &'static str, rules: &'static [RuleRow]) -> RoleRow {
    RoleRow { name, gather: Gather::No, rules }
}

const CLUSTER_ROLES: &[RoleRow] = &[
    role("cluster-admin", &[("*", "*", "*"), ("*", "path", "*")]),
    RoleRow { name: "admin", gather: Gather::Admin, rules: &[] },
    RoleRow { name: "edit", gather: Gather::Edit, rules: &[] },
    RoleRow { name: "view", gather: Gather::View, rules: &[] },
    RoleRow {
        name: "system:aggregate-to-admin",
        gather: Gather::IntoAdmin,
        rules: &[
            ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            (ALL, "rbac.authorization.k8s.io", "roles rolebindings"),
        ],
    },
    RoleRow {
        name: "system:aggregate-to-edit",
        gather: Gather::IntoEdit,
        rules: &[
            (READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            ("impersonate", "core", "serviceaccounts"),
            (WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            ("create", "core", "pods/eviction"),
            (
                WRITE,
                "core",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
                 serviceaccounts services services/proxy",
            ),
            ("create", "core", "serviceaccounts/token"),
            (WRITE, "apps", WORKLOADS),
            (WRITE, "apps", "deployments/rollback"),
            (WRITE, "autoscaling", "horizontalpodautoscalers"),
            (WRITE, "batch", "cronjobs jobs"),
            (WRITE, "policy", "poddisruptionbudgets"),
            (WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            (ALL, "coordination.k8s.io", "leases"),
        ],
    },
    RoleRow {
        name: "system:aggregate-to-view",
        gather: Gather::IntoView,
        rules: &[
            (
                READ,
                "core",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods \
                 replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            ),
            (
                READ,
                "core",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
                 resourcequotas resourcequotas/status",
            ),
            (READ, "core", "namespaces"),
            (READ, "discovery.k8s.io", "endpointslices"),
            (READ, "apps", WORKLOADS),
            (
                READ,
                "apps",
                "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status",
            ),
            (READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            (READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            (READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            (READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        ],
    },
    role(
        "system:discovery",
        &[("get", "path", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")],
    ),
    role("system:public-info-viewer", &[("get", "path", "/healthz /livez /readyz /version /version/")]),
    role(
        "system:monitoring",
        &[("get", "path", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    ),
    role(
        "system:basic-user",
        &[
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[(
            "get",
            "path",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            (READ, "core", "nodes"),
            ("proxy", "core", "nodes"),
            ("*", "core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
        ],
    ),
    role(
        "system:node",
        &[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
            (READ, "core", "services"),
            (READ, "discovery.k8s.io", "endpointslices"),
            (READ, "core", "namespaces"),
            ("create get list watch", "core", "nodes"),
            ("patch update", "core", "nodes/status"),
            ("patch update delete", "core", "nodes"),
            ("create patch update", "core events.k8s.io", "events"),
            (READ, "core", "pods"),
            ("create delete", "core", "pods"),
            ("patch update", "core", "pods/status"),
            ("create", "core", "pods/eviction"),
            (READ, "core", "configmaps secrets"),
            ("get", "core", "persistentvolumeclaims persistentvolumes"),
            ("get list watch", "core", "serviceaccounts endpoints"),
            ("create", "core", "serviceaccounts/token"),
            ("create delete get list patch update watch", "coordination.k8s.io", "leases"),
            ("create delete get patch update", "storage.k8s.io", "csinodes"),
            (READ, "storage.k8s.io", "csidrivers"),
            ("get", "storage.k8s.io", "volumeattachments"),
            (READ, "node.k8s.io", "runtimeclasses"),
            ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
            (READ, "networking.k8s.io", "networkpolicies"),
        ],
    ),
    role("system:node-bootstrapper", &[("create get list watch", "certificates.k8s.io", "certificatesigningrequests")]),
    role("system:node-problem-detector", &[("get", "core", "nodes"), ("patch", "core", "nodes/status"), EVENTS]),
    role(
        "system:node-proxier",
        &[
            ("list watch", "core", "endpoints services"),
            ("get list watch", "core", "nodes"),
            EVENTS,
            ("list watch", "discovery.k8s.io", "endpointslices"),
            ("list watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role(
        "system:kube-dns",
        &[("list watch", "core", "endpoints services"), ("list watch", "discovery.k8s.io", "endpointslices")],
    ),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            ("create get list update watch patch", "coordination.k8s.io", "leases"),
            (READ, "core", "nodes namespaces"),
            ("delete get list watch", "core", "pods"),
            ("create", "core", "bindings pods/binding"),
            ("patch update", "core", "pods/status"),
            (READ, "core", "replicationcontrollers services"),
            (READ, "apps", "replicasets statefulsets"),
            (READ, "policy", "poddisruptionbudgets"),
            (READ, "scheduling.k8s.io", "priorityclasses"),
            ("get list watch patch update", "core", "persistentvolumeclaims persistentvolumes"),
            (READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            ("get list watch patch update", "core", "persistentvolumes persistentvolumeclaims"),
            (READ, "storage.k8s.io", "storageclasses csinodes csidrivers csistoragecapacities"),
        ],
    ),
    // The controllers of one process work under this one identity, so it holds what upstream spreads over
    // `system:controller:*`: garbage collection and namespace deletion need every kind.
    role(
        "system:kube-controller-manager",
        &[
            ("get list watch update patch delete deletecollection", "*", "*"),
            EVENTS,
            (
                "create",
                "core",
                "configmaps endpoints namespaces pods pods/eviction pods/binding secrets serviceaccounts \
                serviceaccounts/token persistentvolumes persistentvolumeclaims replicationcontrollers",
            ),
            ("create", "apps", "controllerrevisions replicasets"),
            ("create", "batch", "jobs"),
            ("create", "discovery.k8s.io", "endpointslices"),
            ("create", "coordination.k8s.io", "leases"),
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            ("create delete get list watch", "core", "persistentvolumes"),
            ("get list update watch", "core", "persistentvolumeclaims"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("watch", "core", "events"),
            EVENTS,
        ],
    ),
];

/// Roles of stock controllers that run under their own service accounts in kube-system.
const CONTROLLER_ROLES: &[RoleRow] = &[
    role(
        "attachdetach-controller",
        &[
            ("list watch get", "core", "persistentvolumes persistentvolumeclaims nodes pods secrets"),
            ("patch update", "core", "nodes/status"),
            (ALL, "storage.k8s.io", "volumeattachments"),
            EVENTS,
        ],
    ),
    role(
        "clusterrole-aggregation-controller",
        &[("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    role(
        "cronjob-controller",
        &[
            ("get list update watch patch", "batch", "cronjobs"),
            ("create delete get list patch update watch", "batch", "jobs"),
            ("update patch", "batch", "cronjobs/status cronjobs/finalizers"),
            ("delete list", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "daemon-set-controller",
        &[
            (READ, "apps", "daemonsets"),
            ("update patch", "apps", "daemonsets/status daemonsets/finalizers"),
            ("list watch", "core", "nodes"),
            ("create delete list patch watch", "core", "pods"),
            ("create", "core", "pods/binding"),
            ("create delete get list patch update watch", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    role(
        "deployment-controller",
        &[
            ("get list update watch patch", "apps", "deployments"),
            ("update patch", "apps", "deployments/status deployments/finalizers"),
            ("create delete get list patch update watch", "apps", "replicasets"),
            ("get list update watch", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "disruption-controller",
        &[
            (READ, "apps", "deployments replicasets statefulsets"),
            (READ, "core", "pods replicationcontrollers"),
            (READ, "policy", "poddisruptionbudgets"),
            ("update patch", "policy", "poddisruptionbudgets/status"),
            ("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    role(
        "endpoint-controller",
        &[
            (READ, "core", "pods services"),
            ("create delete get list update watch", "core", "endpoints"),
            ("create", "core", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    role(
        "endpointslice-controller",
        &[
            (READ, "core", "nodes pods services"),
            ("update", "core", "services/finalizers"),
            ("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    role("generic-garbage-collector", &[("delete get list patch update watch", "*", "*"), EVENTS]),
    role(
        "horizontal-pod-autoscaler",
        &[
            (READ, "autoscaling", "horizontalpodautoscalers"),
            ("update", "autoscaling", "horizontalpodautoscalers/status"),
            ("get update", "*", "*/scale"),
            ("list", "core", "pods"),
            ("get list", "metrics.k8s.io", "pods"),
            ("get list", "custom.metrics.k8s.io external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    role(
        "job-controller",
        &[
            ("get list patch update watch", "batch", "jobs"),
            ("update patch", "batch", "jobs/status jobs/finalizers"),
            ("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "namespace-controller",
        &[
            ("delete get list watch", "core", "namespaces"),
            ("update", "core", "namespaces/finalize namespaces/status"),
            ("delete deletecollection get list", "*", "*"),
        ],
    ),
    role(
        "node-controller",
        &[
            ("delete get list patch update watch", "core", "nodes"),
            ("patch update", "core", "nodes/status"),
            ("delete get list watch", "core", "pods"),
            ("patch update", "core", "pods/status"),
            EVENTS,
        ],
    ),
    role(
        "persistent-volume-binder",
        &[
            ("create delete get list update watch", "core", "persistentvolumes"),
            ("update", "core", "persistentvolumes/status persistentvolumeclaims/status"),
            ("get list update watch", "core", "persistentvolumeclaims"),
            ("create delete get list watch", "core", "pods"),
            (READ, "storage.k8s.io", "storageclasses"),
            (READ, "core", "nodes secrets"),
            EVENTS,
        ],
    ),
    role(
        "pod-garbage-collector",
        &[("delete list watch", "core", "pods"), ("get list", "core", "nodes"), ("patch", "core", "pods/status")],
    ),
    role("pv-protection-controller", &[("get list update watch", "core", "persistentvolumes"), EVENTS]),
    role(
        "pvc-protection-controller",
        &[("get list update watch", "core", "persistentvolumeclaims"), (READ, "core", "pods"), EVENTS],
    ),
    role(
        "replicaset-controller",
        &[
            ("get list update watch", "apps", "replicasets"),
            ("update patch", "apps", "replicasets/status replicasets/finalizers"),
            ("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "replication-controller",
        &[
            ("get list update watch", "core", "replicationcontrollers"),
            ("update patch", "core", "replicationcontrollers/status replicationcontrollers/finalizers"),
            ("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    role("resourcequota-controller", &[("list watch", "*", "*"), ("update", "core", "resourcequotas/status"), EVENTS]),
    role("root-ca-cert-publisher", &[("create update", "core", "configmaps"), EVENTS]),
    role("service-account-controller", &[("create", "core", "serviceaccounts"), EVENTS]),
    role(
        "service-controller",
        &[(READ, "core", "services nodes"), ("patch update", "core", "services/status"), EVENTS],
    ),
    role(
        "statefulset-controller",
        &[
            (READ, "core", "pods"),
            (READ, "apps", "statefulsets"),
            ("update patch", "apps", "statefulsets/status statefulsets/finalizers"),
            ("create delete get patch update", "core", "pods"),
            ("create delete get list patch update watch", "apps", "controllerrevisions"),
            ("create get", "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    role("ttl-after-finished-controller", &[("delete get list watch", "batch", "jobs"), EVENTS]),
    role("ttl-controller", &[("list patch update watch", "core", "nodes"), EVENTS]),
];

/// Binding name (also the role's, unless given), role, subject kind, subject name.
const CLUSTER_BINDINGS: &[(&str, &str, &str, &str)] = &[
    ("cluster-admin", "cluster-admin", "Group", "system:masters"),
    ("system:monitoring", "system:monitoring", "Group", "system:monitoring"),
    ("system:discovery", "system:discovery", "Group", "system:authenticated"),
    ("system:basic-user", "system:basic-user", "Group", "system:authenticated"),
    ("system:public-info-viewer", "system:public-info-viewer", "Group", "system:authenticated system:unauthenticated"),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        "Group",
        "system:serviceaccounts",
    ),
    ("system:node", "system:node", "Group", "system:nodes"),
    ("system:node-proxier", "system:node-proxier", "User", "system:kube-proxy"),
    ("system:kube-controller-manager", "system:kube-controller-manager", "User", "system:kube-controller-manager"),
    ("system:kube-scheduler", "system:kube-scheduler", "User", "system:kube-scheduler"),
    ("system:volume-scheduler", "system:volume-scheduler", "User", "system:kube-scheduler"),
    ("system:kube-dns", "system:kube-dns", "ServiceAccount", "kube-dns"),
];

pub(super) fn targets() -> Vec<Target> {
    let mut targets: Vec<Target> = CLUSTER_ROLES.iter().map(|row| target("clusterroles", cluster_role(row))).collect();
    for (name, role, kind, subjects) in CLUSTER_BINDINGS {
        targets.push(target("clusterrolebindings", binding(name, role, kind, subjects)));
    }
    for row in CONTROLLER_ROLES {
        let name = format!("system:controller:{}", row.name);
        let mut role = cluster_role(row);
        role["metadata"]["name"] = json!(name);
        targets.push(target("clusterroles", role));
        targets.push(target("clusterrolebindings", binding(&name, &name, "ServiceAccount", row.name)));
    }
    targets.extend(local());
    targets
}

fn target(plural: &'static str, object: Value) -> Target {
    Target { group: RBAC_GROUP, version: "v1", plural, object }
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn rules(rows: &[RuleRow]) -> Vec<Value> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let groups = |text: &str| {
        let group = |group: &str| if group == "core" { String::new() } else { group.to_owned() };
        text.split_whitespace().map(group).collect::<Vec<String>>()
    };
    rows.iter()
        .map(|(verbs, group, resources)| match *group {
            "path" => json!({"verbs": words(verbs), "nonResourceURLs": words(resources)}),
            group => json!({"verbs": words(verbs), "apiGroups": groups(group), "resources": words(resources)}),
        })
        .collect()
}

fn cluster_role(row: &RoleRow) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(row.name), "rules": rules(row.rules),
    });
    let label = |target: &str| format!("rbac.authorization.k8s.io/aggregate-to-{target}");
    let gathers = |targets: &[&str]| {
        let selectors: Vec<Value> =
            targets.iter().map(|target| json!({"matchLabels": {label(target): "true"}})).collect();
        json!({"clusterRoleSelectors": selectors})
    };
    match row.gather {
        Gather::No => {}
        Gather::Admin => role["aggregationRule"] = gathers(&["admin"]),
        Gather::Edit => {
            role["aggregationRule"] = gathers(&["edit"]);
            role["metadata"]["labels"][label("admin")] = json!("true");
        }
        Gather::View => {
            role["aggregationRule"] = gathers(&["view"]);
            role["metadata"]["labels"][label("edit")] = json!("true");
        }
        Gather::IntoAdmin => role["metadata"]["labels"][label("admin")] = json!("true"),
        Gather::IntoEdit => role["metadata"]["labels"][label("edit")] = json!("true"),
        Gather::IntoView => role["metadata"]["labels"][label("view")] = json!("true"),
    }
    if !matches!(row.gather, Gather::Admin | Gather::Edit | Gather::View) {
        return role;
    }
    // The gatherers show their rules too, as they would after upstream's aggregation controller.
    role["rules"] = json!(gathered(row.gather));
    role
}

fn gathered(gather: Gather) -> Vec<Value> {
    let wanted: &[Gather] = match gather {
        Gather::Admin => &[Gather::IntoAdmin, Gather::IntoEdit, Gather::IntoView],
        Gather::Edit => &[Gather::IntoEdit, Gather::IntoView],
        _ => &[Gather::IntoView],
    };
    CLUSTER_ROLES.iter().filter(|row| wanted.contains(&row.gather)).flat_map(|row| rules(row.rules)).collect()
}

fn binding(name: &str, role: &str, kind: &str, subjects: &str) -> Value {
    let subject = |subject: &str| match kind {
        "ServiceAccount" => json!({"kind": kind, "name": subject, "namespace": "kube-system"}),
        kind => json!({"kind": kind, "name": subject, "apiGroup": RBAC_GROUP}),
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": subjects.split_whitespace().map(subject).collect::<Vec<Value>>(),
    })
}

/// Roles of one namespace: who may read the configuration that extension API servers start from.
fn local() -> Vec<Target> {
    let name = "extension-apiserver-authentication-reader";
    let mut own = metadata(name);
    own["namespace"] = json!("kube-system");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": own,
        "rules": [{
            "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"],
        }],
    });
    let user = |name: &str| json!({"kind": "User", "name": name, "apiGroup": RBAC_GROUP});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": "system::extension-apiserver-authentication-reader", "namespace": "kube-system",
            "labels": own["labels"], "annotations": own["annotations"],
        },
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": name},
        "subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler")],
    });
    vec![target("roles", role), target("rolebindings", binding)]
}
