//! Rows of what runs pods: apps, batch, autoscaling, and policy.

use super::{ALL_CATEGORY, PLAIN, SCALE, row, status};
use crate::resource::Scope::{Cluster, Namespaced};
use crate::resource::{Resource, StoredAs, Strategy};
use crate::{convert, defaults, print, validate};

const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");

pub(super) const ROWS: &[Resource] = &[
    Resource {
        columns: print::CONTROLLER_REVISION,
        strategy: Strategy {
            validate: validate::controller_revision,
            validate_update: validate::controller_revision_update,
            ..PLAIN
        },
        ..row(APPS, "ControllerRevision", "controllerrevisions", "controllerrevision", Namespaced)
    },
    Resource {
        short_names: &["ds"],
        categories: ALL_CATEGORY,
        subresources: &[status("apps", "v1", "DaemonSet")],
        columns: print::DAEMON_SET,
        strategy: Strategy {
            default: defaults::daemon_set,
            validate: validate::daemon_set,
            validate_update: validate::selector_update,
            generation: true,
            ..PLAIN
        },
        ..row(APPS, "DaemonSet", "daemonsets", "daemonset", Namespaced)
    },
    Resource {
        short_names: &["deploy"],
        categories: ALL_CATEGORY,
        subresources: &[SCALE, status("apps", "v1", "Deployment")],
        columns: print::DEPLOYMENT,
        strategy: Strategy {
            default: defaults::deployment,
            validate: validate::deployment,
            validate_update: validate::selector_update,
            generation: true,
            ..PLAIN
        },
        ..row(APPS, "Deployment", "deployments", "deployment", Namespaced)
    },
    Resource {
        short_names: &["rs"],
        categories: ALL_CATEGORY,
        subresources: &[SCALE, status("apps", "v1", "ReplicaSet")],
        fields: &[("status.replicas", "/status/replicas")],
        columns: print::REPLICA_SET,
        strategy: Strategy {
            default: defaults::replica_set,
            validate: validate::replica_set,
            validate_update: validate::selector_update,
            generation: true,
            ..PLAIN
        },
        ..row(APPS, "ReplicaSet", "replicasets", "replicaset", Namespaced)
    },
    Resource {
        short_names: &["sts"],
        categories: ALL_CATEGORY,
        subresources: &[SCALE, status("apps", "v1", "StatefulSet")],
        columns: print::STATEFUL_SET,
        strategy: Strategy {
            default: defaults::stateful_set,
            validate: validate::stateful_set,
            validate_update: validate::stateful_set_update,
            generation: true,
            ..PLAIN
        },
        ..row(APPS, "StatefulSet", "statefulsets", "statefulset", Namespaced)
    },
    Resource {
        short_names: &["hpa"],
        categories: ALL_CATEGORY,
        subresources: &[status("autoscaling", "v2", "HorizontalPodAutoscaler")],
        columns: print::HORIZONTAL_POD_AUTOSCALER,
        strategy: Strategy {
            default: defaults::horizontal_pod_autoscaler,
            validate: validate::horizontal_pod_autoscaler,
            ..PLAIN
        },
        ..row(
            ("autoscaling", "v2"),
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            Namespaced,
        )
    },
    Resource {
        short_names: &["hpa"],
        categories: ALL_CATEGORY,
        subresources: &[status("autoscaling", "v1", "HorizontalPodAutoscaler")],
        columns: print::HORIZONTAL_POD_AUTOSCALER_V1,
        strategy: Strategy {
            default: defaults::horizontal_pod_autoscaler_v1,
            validate: validate::horizontal_pod_autoscaler,
            ..PLAIN
        },
        stored_as: Some(StoredAs {
            group: "autoscaling",
            version: "v2",
            to_stored: convert::autoscaler_to_v2,
            from_stored: convert::autoscaler_to_v1,
        }),
        ..row(
            ("autoscaling", "v1"),
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            Namespaced,
        )
    },
    Resource {
        short_names: &["cj"],
        categories: ALL_CATEGORY,
        subresources: &[status("batch", "v1", "CronJob")],
        columns: print::CRON_JOB,
        strategy: Strategy { default: defaults::cron_job, validate: validate::cron_job, generation: true, ..PLAIN },
        ..row(BATCH, "CronJob", "cronjobs", "cronjob", Namespaced)
    },
    Resource {
        categories: ALL_CATEGORY,
        subresources: &[status("batch", "v1", "Job")],
        fields: &[("status.successful", "/status/succeeded")],
        columns: print::JOB,
        strategy: Strategy {
            default: defaults::job,
            validate: validate::job,
            validate_update: validate::job_update,
            generation: true,
            ..PLAIN
        },
        ..row(BATCH, "Job", "jobs", "job", Namespaced)
    },
    Resource {
        short_names: &["pdb"],
        subresources: &[status("policy", "v1", "PodDisruptionBudget")],
        columns: print::POD_DISRUPTION_BUDGET,
        strategy: Strategy { validate: validate::pod_disruption_budget, generation: true, ..PLAIN },
        ..row(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", Namespaced)
    },
    Resource {
        short_names: &["pc"],
        columns: print::PRIORITY_CLASS,
        strategy: Strategy {
            default: defaults::priority_class,
            validate: validate::priority_class,
            validate_update: validate::priority_class_update,
            generation: true,
            ..PLAIN
        },
        ..row(("scheduling.k8s.io", "v1"), "PriorityClass", "priorityclasses", "priorityclass", Cluster)
    },
];
