//! Which lists merge and by which key: a fact table of the built-in types of the 1.36 API, for strategic merge patches
//! and for the `x-kubernetes-*` marks of OpenAPI. Types and fields without a mark of their own or below them are
//! absent.

use super::strategy::ListType::{Atomic, Map, Set, Unset};
use super::strategy::Patch::{Merge, MergeRetain, Replace, Retain};
use super::strategy::{FieldStrategy, field};

/// Type name (`core.v1.PodSpec`), then its fields: name, element type, patch strategy, merge key, list type, list keys,
/// and whether a map is atomic. Sorted by type name.
pub(super) static TYPES: &[(&str, &[FieldStrategy])] = &[
    ("apps.v1.ControllerRevision", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "apps.v1.DaemonSet",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "apps.v1.DaemonSetSpec", Replace, "", Unset, &[], false),
            field("status", "apps.v1.DaemonSetStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "apps.v1.DaemonSetSpec",
        &[
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("apps.v1.DaemonSetStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "apps.v1.Deployment",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "apps.v1.DeploymentSpec", Replace, "", Unset, &[], false),
            field("status", "apps.v1.DeploymentStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "apps.v1.DeploymentSpec",
        &[
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
            field("strategy", "", Retain, "", Unset, &[], false),
        ],
    ),
    ("apps.v1.DeploymentStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "apps.v1.ReplicaSet",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "apps.v1.ReplicaSetSpec", Replace, "", Unset, &[], false),
            field("status", "apps.v1.ReplicaSetStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "apps.v1.ReplicaSetSpec",
        &[
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("apps.v1.ReplicaSetStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "apps.v1.StatefulSet",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "apps.v1.StatefulSetSpec", Replace, "", Unset, &[], false),
            field("status", "apps.v1.StatefulSetStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "apps.v1.StatefulSetSpec",
        &[
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
            field("volumeClaimTemplates", "core.v1.PersistentVolumeClaim", Replace, "", Atomic, &[], false),
        ],
    ),
    ("apps.v1.StatefulSetStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "authentication.v1.SelfSubjectReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("status", "authentication.v1.SelfSubjectReviewStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authentication.v1.SelfSubjectReviewStatus",
        &[field("userInfo", "authentication.v1.UserInfo", Replace, "", Unset, &[], false)],
    ),
    (
        "authentication.v1.TokenRequest",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "authentication.v1.TokenRequestSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("authentication.v1.TokenRequestSpec", &[field("audiences", "", Replace, "", Atomic, &[], false)]),
    (
        "authentication.v1.TokenReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "authentication.v1.TokenReviewSpec", Replace, "", Unset, &[], false),
            field("status", "authentication.v1.TokenReviewStatus", Replace, "", Unset, &[], false),
        ],
    ),
    ("authentication.v1.TokenReviewSpec", &[field("audiences", "", Replace, "", Atomic, &[], false)]),
    (
        "authentication.v1.TokenReviewStatus",
        &[
            field("user", "authentication.v1.UserInfo", Replace, "", Unset, &[], false),
            field("audiences", "", Replace, "", Atomic, &[], false),
        ],
    ),
    ("authentication.v1.UserInfo", &[field("groups", "", Replace, "", Atomic, &[], false)]),
    ("authorization.v1.FieldSelectorAttributes", &[field("requirements", "", Replace, "", Atomic, &[], false)]),
    ("authorization.v1.LabelSelectorAttributes", &[field("requirements", "", Replace, "", Atomic, &[], false)]),
    (
        "authorization.v1.LocalSubjectAccessReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "authorization.v1.SubjectAccessReviewSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authorization.v1.NonResourceRule",
        &[
            field("verbs", "", Replace, "", Atomic, &[], false),
            field("nonResourceURLs", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "authorization.v1.ResourceAttributes",
        &[
            field("fieldSelector", "authorization.v1.FieldSelectorAttributes", Replace, "", Unset, &[], false),
            field("labelSelector", "authorization.v1.LabelSelectorAttributes", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authorization.v1.ResourceRule",
        &[
            field("verbs", "", Replace, "", Atomic, &[], false),
            field("apiGroups", "", Replace, "", Atomic, &[], false),
            field("resources", "", Replace, "", Atomic, &[], false),
            field("resourceNames", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "authorization.v1.SelfSubjectAccessReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "authorization.v1.SelfSubjectAccessReviewSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authorization.v1.SelfSubjectAccessReviewSpec",
        &[field("resourceAttributes", "authorization.v1.ResourceAttributes", Replace, "", Unset, &[], false)],
    ),
    (
        "authorization.v1.SelfSubjectRulesReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("status", "authorization.v1.SubjectRulesReviewStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authorization.v1.SubjectAccessReview",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "authorization.v1.SubjectAccessReviewSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "authorization.v1.SubjectAccessReviewSpec",
        &[
            field("resourceAttributes", "authorization.v1.ResourceAttributes", Replace, "", Unset, &[], false),
            field("groups", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "authorization.v1.SubjectRulesReviewStatus",
        &[
            field("resourceRules", "authorization.v1.ResourceRule", Replace, "", Atomic, &[], false),
            field("nonResourceRules", "authorization.v1.NonResourceRule", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "autoscaling.v1.ExternalMetricSource",
        &[field("metricSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v1.ExternalMetricStatus",
        &[field("metricSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v1.HorizontalPodAutoscaler",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "autoscaling.v1.HorizontalPodAutoscalerSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v1.HorizontalPodAutoscalerSpec",
        &[field("scaleTargetRef", "autoscaling.v1.CrossVersionObjectReference", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v1.MetricSpec",
        &[
            field("object", "autoscaling.v1.ObjectMetricSource", Replace, "", Unset, &[], false),
            field("pods", "autoscaling.v1.PodsMetricSource", Replace, "", Unset, &[], false),
            field("external", "autoscaling.v1.ExternalMetricSource", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v1.MetricStatus",
        &[
            field("object", "autoscaling.v1.ObjectMetricStatus", Replace, "", Unset, &[], false),
            field("pods", "autoscaling.v1.PodsMetricStatus", Replace, "", Unset, &[], false),
            field("external", "autoscaling.v1.ExternalMetricStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v1.ObjectMetricSource",
        &[
            field("target", "autoscaling.v1.CrossVersionObjectReference", Replace, "", Unset, &[], false),
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v1.ObjectMetricStatus",
        &[
            field("target", "autoscaling.v1.CrossVersionObjectReference", Replace, "", Unset, &[], false),
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
        ],
    ),
    ("autoscaling.v1.PodsMetricSource", &[field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)]),
    ("autoscaling.v1.PodsMetricStatus", &[field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)]),
    ("autoscaling.v1.Scale", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "autoscaling.v2.ExternalMetricSource",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v2.ExternalMetricStatus",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    ("autoscaling.v2.HPAScalingRules", &[field("policies", "", Replace, "", Atomic, &[], false)]),
    (
        "autoscaling.v2.HorizontalPodAutoscaler",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "autoscaling.v2.HorizontalPodAutoscalerSpec", Replace, "", Unset, &[], false),
            field("status", "autoscaling.v2.HorizontalPodAutoscalerStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerBehavior",
        &[
            field("scaleUp", "autoscaling.v2.HPAScalingRules", Replace, "", Unset, &[], false),
            field("scaleDown", "autoscaling.v2.HPAScalingRules", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        &[
            field("metrics", "autoscaling.v2.MetricSpec", Replace, "", Atomic, &[], false),
            field("behavior", "autoscaling.v2.HorizontalPodAutoscalerBehavior", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerStatus",
        &[
            field("currentMetrics", "autoscaling.v2.MetricStatus", Replace, "", Atomic, &[], false),
            field("conditions", "", Merge, "type", Map, &["type"], false),
        ],
    ),
    ("autoscaling.v2.MetricIdentifier", &[field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)]),
    (
        "autoscaling.v2.MetricSpec",
        &[
            field("object", "autoscaling.v2.ObjectMetricSource", Replace, "", Unset, &[], false),
            field("pods", "autoscaling.v2.PodsMetricSource", Replace, "", Unset, &[], false),
            field("external", "autoscaling.v2.ExternalMetricSource", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v2.MetricStatus",
        &[
            field("object", "autoscaling.v2.ObjectMetricStatus", Replace, "", Unset, &[], false),
            field("pods", "autoscaling.v2.PodsMetricStatus", Replace, "", Unset, &[], false),
            field("external", "autoscaling.v2.ExternalMetricStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "autoscaling.v2.ObjectMetricSource",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v2.ObjectMetricStatus",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v2.PodsMetricSource",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    (
        "autoscaling.v2.PodsMetricStatus",
        &[field("metric", "autoscaling.v2.MetricIdentifier", Replace, "", Unset, &[], false)],
    ),
    (
        "batch.v1.CronJob",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "batch.v1.CronJobSpec", Replace, "", Unset, &[], false),
            field("status", "batch.v1.CronJobStatus", Replace, "", Unset, &[], false),
        ],
    ),
    ("batch.v1.CronJobSpec", &[field("jobTemplate", "batch.v1.JobTemplateSpec", Replace, "", Unset, &[], false)]),
    ("batch.v1.CronJobStatus", &[field("active", "core.v1.ObjectReference", Replace, "", Atomic, &[], false)]),
    (
        "batch.v1.Job",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "batch.v1.JobSpec", Replace, "", Unset, &[], false),
            field("status", "batch.v1.JobStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "batch.v1.JobSpec",
        &[
            field("podFailurePolicy", "batch.v1.PodFailurePolicy", Replace, "", Unset, &[], false),
            field("successPolicy", "batch.v1.SuccessPolicy", Replace, "", Unset, &[], false),
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "batch.v1.JobStatus",
        &[
            field("conditions", "", Merge, "type", Atomic, &[], false),
            field("uncountedTerminatedPods", "batch.v1.UncountedTerminatedPods", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "batch.v1.JobTemplateSpec",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "batch.v1.JobSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("batch.v1.PodFailurePolicy", &[field("rules", "batch.v1.PodFailurePolicyRule", Replace, "", Atomic, &[], false)]),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", &[field("values", "", Replace, "", Set, &[], false)]),
    (
        "batch.v1.PodFailurePolicyRule",
        &[
            field("onExitCodes", "batch.v1.PodFailurePolicyOnExitCodesRequirement", Replace, "", Unset, &[], false),
            field("onPodConditions", "", Replace, "", Atomic, &[], false),
        ],
    ),
    ("batch.v1.SuccessPolicy", &[field("rules", "", Replace, "", Atomic, &[], false)]),
    (
        "batch.v1.UncountedTerminatedPods",
        &[field("succeeded", "", Replace, "", Set, &[], false), field("failed", "", Replace, "", Set, &[], false)],
    ),
    (
        "certificates.v1.CertificateSigningRequest",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "certificates.v1.CertificateSigningRequestSpec", Replace, "", Unset, &[], false),
            field("status", "certificates.v1.CertificateSigningRequestStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "certificates.v1.CertificateSigningRequestSpec",
        &[field("usages", "", Replace, "", Atomic, &[], false), field("groups", "", Replace, "", Atomic, &[], false)],
    ),
    ("certificates.v1.CertificateSigningRequestStatus", &[field("conditions", "", Replace, "", Map, &["type"], false)]),
    ("coordination.v1.Lease", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "core.v1.Affinity",
        &[
            field("nodeAffinity", "core.v1.NodeAffinity", Replace, "", Unset, &[], false),
            field("podAffinity", "core.v1.PodAffinity", Replace, "", Unset, &[], false),
            field("podAntiAffinity", "core.v1.PodAntiAffinity", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.AvoidPods", &[field("preferAvoidPods", "core.v1.PreferAvoidPodsEntry", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.Binding",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("target", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.CSIPersistentVolumeSource",
        &[
            field("controllerPublishSecretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
            field("nodeStageSecretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
            field("nodePublishSecretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
            field("controllerExpandSecretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
            field("nodeExpandSecretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.CSIVolumeSource",
        &[field("nodePublishSecretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.Capabilities",
        &[field("add", "", Replace, "", Atomic, &[], false), field("drop", "", Replace, "", Atomic, &[], false)],
    ),
    (
        "core.v1.CephFSPersistentVolumeSource",
        &[
            field("monitors", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.CephFSVolumeSource",
        &[
            field("monitors", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.CinderPersistentVolumeSource",
        &[field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.CinderVolumeSource",
        &[field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.ClusterTrustBundleProjection",
        &[field("labelSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.ComponentStatus",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("conditions", "", Merge, "type", Map, &["type"], false),
        ],
    ),
    ("core.v1.ConfigMap", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    ("core.v1.ConfigMapProjection", &[field("items", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.ConfigMapVolumeSource", &[field("items", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.Container",
        &[
            field("command", "", Replace, "", Atomic, &[], false),
            field("args", "", Replace, "", Atomic, &[], false),
            field("ports", "", Merge, "containerPort", Map, &["containerPort", "protocol"], false),
            field("envFrom", "", Replace, "", Atomic, &[], false),
            field("env", "core.v1.EnvVar", Merge, "name", Map, &["name"], false),
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
            field("resizePolicy", "", Replace, "", Atomic, &[], false),
            field("restartPolicyRules", "core.v1.ContainerRestartRule", Replace, "", Atomic, &[], false),
            field("volumeMounts", "", Merge, "mountPath", Map, &["mountPath"], false),
            field("volumeDevices", "", Merge, "devicePath", Map, &["devicePath"], false),
            field("livenessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("readinessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("startupProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("lifecycle", "core.v1.Lifecycle", Replace, "", Unset, &[], false),
            field("securityContext", "core.v1.SecurityContext", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.ContainerImage", &[field("names", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.ContainerRestartRule",
        &[field("exitCodes", "core.v1.ContainerRestartRuleOnExitCodes", Replace, "", Unset, &[], false)],
    ),
    ("core.v1.ContainerRestartRuleOnExitCodes", &[field("values", "", Replace, "", Set, &[], false)]),
    (
        "core.v1.ContainerStatus",
        &[
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
            field("volumeMounts", "", Merge, "mountPath", Map, &["mountPath"], false),
            field("user", "core.v1.ContainerUser", Replace, "", Unset, &[], false),
            field("allocatedResourcesStatus", "core.v1.ResourceStatus", Merge, "name", Map, &["name"], false),
        ],
    ),
    ("core.v1.ContainerUser", &[field("linux", "core.v1.LinuxContainerUser", Replace, "", Unset, &[], false)]),
    (
        "core.v1.DownwardAPIProjection",
        &[field("items", "core.v1.DownwardAPIVolumeFile", Replace, "", Atomic, &[], false)],
    ),
    (
        "core.v1.DownwardAPIVolumeFile",
        &[
            field("fieldRef", "core.v1.ObjectFieldSelector", Replace, "", Unset, &[], false),
            field("resourceFieldRef", "core.v1.ResourceFieldSelector", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.DownwardAPIVolumeSource",
        &[field("items", "core.v1.DownwardAPIVolumeFile", Replace, "", Atomic, &[], false)],
    ),
    ("core.v1.EndpointAddress", &[field("targetRef", "core.v1.ObjectReference", Replace, "", Unset, &[], false)]),
    (
        "core.v1.EndpointSubset",
        &[
            field("addresses", "core.v1.EndpointAddress", Replace, "", Atomic, &[], false),
            field("notReadyAddresses", "core.v1.EndpointAddress", Replace, "", Atomic, &[], false),
            field("ports", "core.v1.EndpointPort", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.Endpoints",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("subsets", "core.v1.EndpointSubset", Replace, "", Atomic, &[], false),
        ],
    ),
    ("core.v1.EnvVar", &[field("valueFrom", "core.v1.EnvVarSource", Replace, "", Unset, &[], false)]),
    (
        "core.v1.EnvVarSource",
        &[
            field("fieldRef", "core.v1.ObjectFieldSelector", Replace, "", Unset, &[], false),
            field("resourceFieldRef", "core.v1.ResourceFieldSelector", Replace, "", Unset, &[], false),
            field("configMapKeyRef", "core.v1.ConfigMapKeySelector", Replace, "", Unset, &[], false),
            field("secretKeyRef", "core.v1.SecretKeySelector", Replace, "", Unset, &[], false),
            field("fileKeyRef", "core.v1.FileKeySelector", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.EphemeralContainer",
        &[
            field("command", "", Replace, "", Atomic, &[], false),
            field("args", "", Replace, "", Atomic, &[], false),
            field("ports", "", Merge, "containerPort", Map, &["containerPort", "protocol"], false),
            field("envFrom", "", Replace, "", Atomic, &[], false),
            field("env", "core.v1.EnvVar", Merge, "name", Map, &["name"], false),
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
            field("resizePolicy", "", Replace, "", Atomic, &[], false),
            field("restartPolicyRules", "core.v1.ContainerRestartRule", Replace, "", Atomic, &[], false),
            field("volumeMounts", "", Merge, "mountPath", Map, &["mountPath"], false),
            field("volumeDevices", "", Merge, "devicePath", Map, &["devicePath"], false),
            field("livenessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("readinessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("startupProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("lifecycle", "core.v1.Lifecycle", Replace, "", Unset, &[], false),
            field("securityContext", "core.v1.SecurityContext", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.EphemeralContainerCommon",
        &[
            field("command", "", Replace, "", Atomic, &[], false),
            field("args", "", Replace, "", Atomic, &[], false),
            field("ports", "", Merge, "containerPort", Map, &["containerPort", "protocol"], false),
            field("envFrom", "", Replace, "", Atomic, &[], false),
            field("env", "core.v1.EnvVar", Merge, "name", Map, &["name"], false),
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
            field("resizePolicy", "", Replace, "", Atomic, &[], false),
            field("restartPolicyRules", "core.v1.ContainerRestartRule", Replace, "", Atomic, &[], false),
            field("volumeMounts", "", Merge, "mountPath", Map, &["mountPath"], false),
            field("volumeDevices", "", Merge, "devicePath", Map, &["devicePath"], false),
            field("livenessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("readinessProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("startupProbe", "core.v1.Probe", Replace, "", Unset, &[], false),
            field("lifecycle", "core.v1.Lifecycle", Replace, "", Unset, &[], false),
            field("securityContext", "core.v1.SecurityContext", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.EphemeralVolumeSource",
        &[field("volumeClaimTemplate", "core.v1.PersistentVolumeClaimTemplate", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.Event",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("involvedObject", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
            field("related", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.ExecAction", &[field("command", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.FCVolumeSource",
        &[
            field("targetWWNs", "", Replace, "", Atomic, &[], false),
            field("wwids", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.FlexPersistentVolumeSource",
        &[field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false)],
    ),
    ("core.v1.FlexVolumeSource", &[field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false)]),
    ("core.v1.HTTPGetAction", &[field("httpHeaders", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.HostAlias", &[field("hostnames", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.ISCSIPersistentVolumeSource",
        &[
            field("portals", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.ISCSIVolumeSource",
        &[
            field("portals", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.Lifecycle",
        &[
            field("postStart", "core.v1.LifecycleHandler", Replace, "", Unset, &[], false),
            field("preStop", "core.v1.LifecycleHandler", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.LifecycleHandler",
        &[
            field("exec", "core.v1.ExecAction", Replace, "", Unset, &[], false),
            field("httpGet", "core.v1.HTTPGetAction", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.LimitRange",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.LimitRangeSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.LimitRangeSpec", &[field("limits", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.LinuxContainerUser", &[field("supplementalGroups", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.LoadBalancerIngress", &[field("ports", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.LoadBalancerStatus", &[field("ingress", "core.v1.LoadBalancerIngress", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.Namespace",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.NamespaceSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.NamespaceStatus", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.NamespaceSpec", &[field("finalizers", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.NamespaceStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "core.v1.Node",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.NodeSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.NodeStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.NodeAffinity",
        &[
            field(
                "requiredDuringSchedulingIgnoredDuringExecution",
                "core.v1.NodeSelector",
                Replace,
                "",
                Unset,
                &[],
                false,
            ),
            field(
                "preferredDuringSchedulingIgnoredDuringExecution",
                "core.v1.PreferredSchedulingTerm",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
        ],
    ),
    ("core.v1.NodeAllocatableResourceClaimStatus", &[field("containers", "", Replace, "", Set, &[], false)]),
    (
        "core.v1.NodeSelector",
        &[field("nodeSelectorTerms", "core.v1.NodeSelectorTerm", Replace, "", Atomic, &[], false)],
    ),
    ("core.v1.NodeSelectorRequirement", &[field("values", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.NodeSelectorTerm",
        &[
            field("matchExpressions", "core.v1.NodeSelectorRequirement", Replace, "", Atomic, &[], false),
            field("matchFields", "core.v1.NodeSelectorRequirement", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.NodeSpec",
        &[field("podCIDRs", "", Merge, "", Set, &[], false), field("taints", "", Replace, "", Atomic, &[], false)],
    ),
    (
        "core.v1.NodeStatus",
        &[
            field("conditions", "", Merge, "type", Map, &["type"], false),
            field("addresses", "", Merge, "type", Map, &["type"], false),
            field("images", "core.v1.ContainerImage", Replace, "", Atomic, &[], false),
            field("volumesInUse", "", Replace, "", Atomic, &[], false),
            field("volumesAttached", "", Replace, "", Atomic, &[], false),
            field("runtimeHandlers", "", Replace, "", Atomic, &[], false),
            field("declaredFeatures", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolume",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.PersistentVolumeSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeClaim",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.PersistentVolumeClaimSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.PersistentVolumeClaimStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeClaimSpec",
        &[
            field("accessModes", "", Replace, "", Atomic, &[], false),
            field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("dataSource", "core.v1.TypedLocalObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeClaimStatus",
        &[
            field("accessModes", "", Replace, "", Atomic, &[], false),
            field("conditions", "", Merge, "type", Map, &["type"], false),
            field("allocatedResourceStatuses", "", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeClaimTemplate",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.PersistentVolumeClaimSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeSource",
        &[
            field("rbd", "core.v1.RBDPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("iscsi", "core.v1.ISCSIPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("cinder", "core.v1.CinderPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("cephfs", "core.v1.CephFSPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("fc", "core.v1.FCVolumeSource", Replace, "", Unset, &[], false),
            field("flexVolume", "core.v1.FlexPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("scaleIO", "core.v1.ScaleIOPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("storageos", "core.v1.StorageOSPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("csi", "core.v1.CSIPersistentVolumeSource", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PersistentVolumeSpec",
        &[
            field("rbd", "core.v1.RBDPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("iscsi", "core.v1.ISCSIPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("cinder", "core.v1.CinderPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("cephfs", "core.v1.CephFSPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("fc", "core.v1.FCVolumeSource", Replace, "", Unset, &[], false),
            field("flexVolume", "core.v1.FlexPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("scaleIO", "core.v1.ScaleIOPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("storageos", "core.v1.StorageOSPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("csi", "core.v1.CSIPersistentVolumeSource", Replace, "", Unset, &[], false),
            field("accessModes", "", Replace, "", Atomic, &[], false),
            field("claimRef", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
            field("mountOptions", "", Replace, "", Atomic, &[], false),
            field("nodeAffinity", "core.v1.VolumeNodeAffinity", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.Pod",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.PodSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.PodStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PodAffinity",
        &[
            field(
                "requiredDuringSchedulingIgnoredDuringExecution",
                "core.v1.PodAffinityTerm",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
            field(
                "preferredDuringSchedulingIgnoredDuringExecution",
                "core.v1.WeightedPodAffinityTerm",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
        ],
    ),
    (
        "core.v1.PodAffinityTerm",
        &[
            field("labelSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("namespaces", "", Replace, "", Atomic, &[], false),
            field("namespaceSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("matchLabelKeys", "", Replace, "", Atomic, &[], false),
            field("mismatchLabelKeys", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.PodAntiAffinity",
        &[
            field(
                "requiredDuringSchedulingIgnoredDuringExecution",
                "core.v1.PodAffinityTerm",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
            field(
                "preferredDuringSchedulingIgnoredDuringExecution",
                "core.v1.WeightedPodAffinityTerm",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
        ],
    ),
    (
        "core.v1.PodDNSConfig",
        &[
            field("nameservers", "", Replace, "", Atomic, &[], false),
            field("searches", "", Replace, "", Atomic, &[], false),
            field("options", "", Replace, "", Atomic, &[], false),
        ],
    ),
    ("core.v1.PodExecOptions", &[field("command", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.PodExtendedResourceClaimStatus", &[field("requestMappings", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.PodPortForwardOptions", &[field("ports", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.PodSecurityContext",
        &[
            field("supplementalGroups", "", Replace, "", Atomic, &[], false),
            field("sysctls", "", Replace, "", Atomic, &[], false),
        ],
    ),
    ("core.v1.PodSignature", &[field("podController", "meta.v1.OwnerReference", Replace, "", Unset, &[], false)]),
    (
        "core.v1.PodSpec",
        &[
            field("volumes", "core.v1.Volume", MergeRetain, "name", Map, &["name"], false),
            field("initContainers", "core.v1.Container", Merge, "name", Map, &["name"], false),
            field("containers", "core.v1.Container", Merge, "name", Map, &["name"], false),
            field("ephemeralContainers", "core.v1.EphemeralContainer", Merge, "name", Map, &["name"], false),
            field("nodeSelector", "", Replace, "", Unset, &[], true),
            field("securityContext", "core.v1.PodSecurityContext", Replace, "", Unset, &[], false),
            field("imagePullSecrets", "core.v1.LocalObjectReference", Merge, "name", Map, &["name"], false),
            field("affinity", "core.v1.Affinity", Replace, "", Unset, &[], false),
            field("tolerations", "", Replace, "", Atomic, &[], false),
            field("hostAliases", "core.v1.HostAlias", Merge, "ip", Map, &["ip"], false),
            field("dnsConfig", "core.v1.PodDNSConfig", Replace, "", Unset, &[], false),
            field("readinessGates", "", Replace, "", Atomic, &[], false),
            field(
                "topologySpreadConstraints",
                "core.v1.TopologySpreadConstraint",
                Merge,
                "topologyKey",
                Map,
                &["topologyKey", "whenUnsatisfiable"],
                false,
            ),
            field("schedulingGates", "", Merge, "name", Map, &["name"], false),
            field("resourceClaims", "", MergeRetain, "name", Map, &["name"], false),
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PodStatus",
        &[
            field("conditions", "", Merge, "type", Map, &["type"], false),
            field("hostIPs", "", Merge, "ip", Atomic, &[], false),
            field("podIPs", "", Merge, "ip", Map, &["ip"], false),
            field("initContainerStatuses", "core.v1.ContainerStatus", Replace, "", Atomic, &[], false),
            field("containerStatuses", "core.v1.ContainerStatus", Replace, "", Atomic, &[], false),
            field("ephemeralContainerStatuses", "core.v1.ContainerStatus", Replace, "", Atomic, &[], false),
            field("resourceClaimStatuses", "", MergeRetain, "name", Map, &["name"], false),
            field(
                "extendedResourceClaimStatus",
                "core.v1.PodExtendedResourceClaimStatus",
                Replace,
                "",
                Unset,
                &[],
                false,
            ),
            field("resources", "core.v1.ResourceRequirements", Replace, "", Unset, &[], false),
            field(
                "nodeAllocatableResourceClaimStatuses",
                "core.v1.NodeAllocatableResourceClaimStatus",
                Replace,
                "",
                Atomic,
                &[],
                false,
            ),
        ],
    ),
    (
        "core.v1.PodStatusResult",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("status", "core.v1.PodStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PodTemplate",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.PodTemplateSpec",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.PodSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.PreferAvoidPodsEntry", &[field("podSignature", "core.v1.PodSignature", Replace, "", Unset, &[], false)]),
    (
        "core.v1.PreferredSchedulingTerm",
        &[field("preference", "core.v1.NodeSelectorTerm", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.Probe",
        &[
            field("exec", "core.v1.ExecAction", Replace, "", Unset, &[], false),
            field("httpGet", "core.v1.HTTPGetAction", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.ProbeHandler",
        &[
            field("exec", "core.v1.ExecAction", Replace, "", Unset, &[], false),
            field("httpGet", "core.v1.HTTPGetAction", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.ProjectedVolumeSource", &[field("sources", "core.v1.VolumeProjection", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.RBDPersistentVolumeSource",
        &[
            field("monitors", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.RBDVolumeSource",
        &[
            field("monitors", "", Replace, "", Atomic, &[], false),
            field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.RangeAllocation", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "core.v1.ReplicationController",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.ReplicationControllerSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.ReplicationControllerStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.ReplicationControllerSpec",
        &[
            field("selector", "", Replace, "", Unset, &[], true),
            field("template", "core.v1.PodTemplateSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.ReplicationControllerStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "core.v1.ResourceQuota",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.ResourceQuotaSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.ResourceQuotaSpec",
        &[
            field("scopes", "", Replace, "", Atomic, &[], false),
            field("scopeSelector", "core.v1.ScopeSelector", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.ResourceRequirements", &[field("claims", "", Replace, "", Map, &["name"], false)]),
    ("core.v1.ResourceStatus", &[field("resources", "", Replace, "", Map, &["resourceID"], false)]),
    (
        "core.v1.ScaleIOPersistentVolumeSource",
        &[field("secretRef", "core.v1.SecretReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.ScaleIOVolumeSource",
        &[field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.ScopeSelector",
        &[field("matchExpressions", "core.v1.ScopedResourceSelectorRequirement", Replace, "", Atomic, &[], false)],
    ),
    ("core.v1.ScopedResourceSelectorRequirement", &[field("values", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.Secret", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    ("core.v1.SecretProjection", &[field("items", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.SecretVolumeSource", &[field("items", "", Replace, "", Atomic, &[], false)]),
    ("core.v1.SecurityContext", &[field("capabilities", "core.v1.Capabilities", Replace, "", Unset, &[], false)]),
    ("core.v1.SerializedReference", &[field("reference", "core.v1.ObjectReference", Replace, "", Unset, &[], false)]),
    (
        "core.v1.Service",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "core.v1.ServiceSpec", Replace, "", Unset, &[], false),
            field("status", "core.v1.ServiceStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.ServiceAccount",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("secrets", "core.v1.ObjectReference", Merge, "name", Map, &["name"], false),
            field("imagePullSecrets", "core.v1.LocalObjectReference", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.ServiceSpec",
        &[
            field("ports", "", Merge, "port", Map, &["port", "protocol"], false),
            field("selector", "", Replace, "", Unset, &[], true),
            field("clusterIPs", "", Replace, "", Atomic, &[], false),
            field("externalIPs", "", Replace, "", Atomic, &[], false),
            field("loadBalancerSourceRanges", "", Replace, "", Atomic, &[], false),
            field("ipFamilies", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.ServiceStatus",
        &[
            field("loadBalancer", "core.v1.LoadBalancerStatus", Replace, "", Unset, &[], false),
            field("conditions", "", Merge, "type", Map, &["type"], false),
        ],
    ),
    (
        "core.v1.StorageOSPersistentVolumeSource",
        &[field("secretRef", "core.v1.ObjectReference", Replace, "", Unset, &[], false)],
    ),
    (
        "core.v1.StorageOSVolumeSource",
        &[field("secretRef", "core.v1.LocalObjectReference", Replace, "", Unset, &[], false)],
    ),
    ("core.v1.TopologySelectorLabelRequirement", &[field("values", "", Replace, "", Atomic, &[], false)]),
    (
        "core.v1.TopologySelectorTerm",
        &[field("matchLabelExpressions", "core.v1.TopologySelectorLabelRequirement", Replace, "", Atomic, &[], false)],
    ),
    (
        "core.v1.TopologySpreadConstraint",
        &[
            field("labelSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("matchLabelKeys", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "core.v1.Volume",
        &[
            field("secret", "core.v1.SecretVolumeSource", Replace, "", Unset, &[], false),
            field("iscsi", "core.v1.ISCSIVolumeSource", Replace, "", Unset, &[], false),
            field("rbd", "core.v1.RBDVolumeSource", Replace, "", Unset, &[], false),
            field("flexVolume", "core.v1.FlexVolumeSource", Replace, "", Unset, &[], false),
            field("cinder", "core.v1.CinderVolumeSource", Replace, "", Unset, &[], false),
            field("cephfs", "core.v1.CephFSVolumeSource", Replace, "", Unset, &[], false),
            field("downwardAPI", "core.v1.DownwardAPIVolumeSource", Replace, "", Unset, &[], false),
            field("fc", "core.v1.FCVolumeSource", Replace, "", Unset, &[], false),
            field("configMap", "core.v1.ConfigMapVolumeSource", Replace, "", Unset, &[], false),
            field("projected", "core.v1.ProjectedVolumeSource", Replace, "", Unset, &[], false),
            field("scaleIO", "core.v1.ScaleIOVolumeSource", Replace, "", Unset, &[], false),
            field("storageos", "core.v1.StorageOSVolumeSource", Replace, "", Unset, &[], false),
            field("csi", "core.v1.CSIVolumeSource", Replace, "", Unset, &[], false),
            field("ephemeral", "core.v1.EphemeralVolumeSource", Replace, "", Unset, &[], false),
        ],
    ),
    ("core.v1.VolumeNodeAffinity", &[field("required", "core.v1.NodeSelector", Replace, "", Unset, &[], false)]),
    (
        "core.v1.VolumeProjection",
        &[
            field("secret", "core.v1.SecretProjection", Replace, "", Unset, &[], false),
            field("downwardAPI", "core.v1.DownwardAPIProjection", Replace, "", Unset, &[], false),
            field("configMap", "core.v1.ConfigMapProjection", Replace, "", Unset, &[], false),
            field("clusterTrustBundle", "core.v1.ClusterTrustBundleProjection", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.VolumeSource",
        &[
            field("secret", "core.v1.SecretVolumeSource", Replace, "", Unset, &[], false),
            field("iscsi", "core.v1.ISCSIVolumeSource", Replace, "", Unset, &[], false),
            field("rbd", "core.v1.RBDVolumeSource", Replace, "", Unset, &[], false),
            field("flexVolume", "core.v1.FlexVolumeSource", Replace, "", Unset, &[], false),
            field("cinder", "core.v1.CinderVolumeSource", Replace, "", Unset, &[], false),
            field("cephfs", "core.v1.CephFSVolumeSource", Replace, "", Unset, &[], false),
            field("downwardAPI", "core.v1.DownwardAPIVolumeSource", Replace, "", Unset, &[], false),
            field("fc", "core.v1.FCVolumeSource", Replace, "", Unset, &[], false),
            field("configMap", "core.v1.ConfigMapVolumeSource", Replace, "", Unset, &[], false),
            field("projected", "core.v1.ProjectedVolumeSource", Replace, "", Unset, &[], false),
            field("scaleIO", "core.v1.ScaleIOVolumeSource", Replace, "", Unset, &[], false),
            field("storageos", "core.v1.StorageOSVolumeSource", Replace, "", Unset, &[], false),
            field("csi", "core.v1.CSIVolumeSource", Replace, "", Unset, &[], false),
            field("ephemeral", "core.v1.EphemeralVolumeSource", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "core.v1.WeightedPodAffinityTerm",
        &[field("podAffinityTerm", "core.v1.PodAffinityTerm", Replace, "", Unset, &[], false)],
    ),
    (
        "discovery.v1.Endpoint",
        &[
            field("addresses", "", Replace, "", Set, &[], false),
            field("targetRef", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
            field("hints", "discovery.v1.EndpointHints", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "discovery.v1.EndpointHints",
        &[
            field("forZones", "", Replace, "", Atomic, &[], false),
            field("forNodes", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "discovery.v1.EndpointSlice",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("endpoints", "discovery.v1.Endpoint", Replace, "", Atomic, &[], false),
            field("ports", "discovery.v1.EndpointPort", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "events.v1.Event",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("regarding", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
            field("related", "core.v1.ObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    ("meta.v1.LabelSelector", &[field("matchExpressions", "", Replace, "", Atomic, &[], false)]),
    (
        "meta.v1.ObjectMeta",
        &[
            field("finalizers", "", Merge, "", Set, &[], false),
            field("ownerReferences", "meta.v1.OwnerReference", Merge, "uid", Map, &["uid"], false),
            field("managedFields", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "networking.v1.HTTPIngressPath",
        &[field("backend", "networking.v1.IngressBackend", Replace, "", Unset, &[], false)],
    ),
    (
        "networking.v1.HTTPIngressRuleValue",
        &[field("paths", "networking.v1.HTTPIngressPath", Replace, "", Atomic, &[], false)],
    ),
    ("networking.v1.IPAddress", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    ("networking.v1.IPBlock", &[field("except", "", Replace, "", Atomic, &[], false)]),
    (
        "networking.v1.Ingress",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "networking.v1.IngressSpec", Replace, "", Unset, &[], false),
            field("status", "networking.v1.IngressStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "networking.v1.IngressBackend",
        &[
            field("service", "networking.v1.IngressServiceBackend", Replace, "", Unset, &[], false),
            field("resource", "core.v1.TypedLocalObjectReference", Replace, "", Unset, &[], false),
        ],
    ),
    ("networking.v1.IngressClass", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    ("networking.v1.IngressLoadBalancerIngress", &[field("ports", "", Replace, "", Atomic, &[], false)]),
    (
        "networking.v1.IngressLoadBalancerStatus",
        &[field("ingress", "networking.v1.IngressLoadBalancerIngress", Replace, "", Atomic, &[], false)],
    ),
    (
        "networking.v1.IngressRule",
        &[field("http", "networking.v1.HTTPIngressRuleValue", Replace, "", Unset, &[], false)],
    ),
    (
        "networking.v1.IngressRuleValue",
        &[field("http", "networking.v1.HTTPIngressRuleValue", Replace, "", Unset, &[], false)],
    ),
    (
        "networking.v1.IngressServiceBackend",
        &[field("port", "networking.v1.ServiceBackendPort", Replace, "", Unset, &[], false)],
    ),
    (
        "networking.v1.IngressSpec",
        &[
            field("defaultBackend", "networking.v1.IngressBackend", Replace, "", Unset, &[], false),
            field("tls", "networking.v1.IngressTLS", Replace, "", Atomic, &[], false),
            field("rules", "networking.v1.IngressRule", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "networking.v1.IngressStatus",
        &[field("loadBalancer", "networking.v1.IngressLoadBalancerStatus", Replace, "", Unset, &[], false)],
    ),
    ("networking.v1.IngressTLS", &[field("hosts", "", Replace, "", Atomic, &[], false)]),
    (
        "networking.v1.NetworkPolicy",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "networking.v1.NetworkPolicySpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "networking.v1.NetworkPolicyEgressRule",
        &[
            field("ports", "", Replace, "", Atomic, &[], false),
            field("to", "networking.v1.NetworkPolicyPeer", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "networking.v1.NetworkPolicyIngressRule",
        &[
            field("ports", "", Replace, "", Atomic, &[], false),
            field("from", "networking.v1.NetworkPolicyPeer", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "networking.v1.NetworkPolicyPeer",
        &[
            field("podSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("namespaceSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("ipBlock", "networking.v1.IPBlock", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "networking.v1.NetworkPolicySpec",
        &[
            field("podSelector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
            field("ingress", "networking.v1.NetworkPolicyIngressRule", Replace, "", Atomic, &[], false),
            field("egress", "networking.v1.NetworkPolicyEgressRule", Replace, "", Atomic, &[], false),
            field("policyTypes", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "networking.v1.ServiceCIDR",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "networking.v1.ServiceCIDRSpec", Replace, "", Unset, &[], false),
            field("status", "networking.v1.ServiceCIDRStatus", Replace, "", Unset, &[], false),
        ],
    ),
    ("networking.v1.ServiceCIDRSpec", &[field("cidrs", "", Replace, "", Atomic, &[], false)]),
    ("networking.v1.ServiceCIDRStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "node.v1.RuntimeClass",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("scheduling", "node.v1.Scheduling", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "node.v1.Scheduling",
        &[
            field("nodeSelector", "", Replace, "", Unset, &[], true),
            field("tolerations", "", Replace, "", Atomic, &[], false),
        ],
    ),
    ("policy.v1.Eviction", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "policy.v1.PodDisruptionBudget",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "policy.v1.PodDisruptionBudgetSpec", Replace, "", Unset, &[], false),
            field("status", "policy.v1.PodDisruptionBudgetStatus", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "policy.v1.PodDisruptionBudgetSpec",
        &[field("selector", "meta.v1.LabelSelector", Replace, "", Unset, &[], false)],
    ),
    ("policy.v1.PodDisruptionBudgetStatus", &[field("conditions", "", Merge, "type", Map, &["type"], false)]),
    (
        "rbac.v1.AggregationRule",
        &[field("clusterRoleSelectors", "meta.v1.LabelSelector", Replace, "", Atomic, &[], false)],
    ),
    (
        "rbac.v1.ClusterRole",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("rules", "rbac.v1.PolicyRule", Replace, "", Atomic, &[], false),
            field("aggregationRule", "rbac.v1.AggregationRule", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "rbac.v1.ClusterRoleBinding",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("subjects", "rbac.v1.Subject", Replace, "", Atomic, &[], false),
            field("roleRef", "rbac.v1.RoleRef", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "rbac.v1.PolicyRule",
        &[
            field("verbs", "", Replace, "", Atomic, &[], false),
            field("apiGroups", "", Replace, "", Atomic, &[], false),
            field("resources", "", Replace, "", Atomic, &[], false),
            field("resourceNames", "", Replace, "", Atomic, &[], false),
            field("nonResourceURLs", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "rbac.v1.Role",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("rules", "rbac.v1.PolicyRule", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "rbac.v1.RoleBinding",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("subjects", "rbac.v1.Subject", Replace, "", Atomic, &[], false),
            field("roleRef", "rbac.v1.RoleRef", Replace, "", Unset, &[], false),
        ],
    ),
    ("scheduling.v1.PriorityClass", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
    (
        "storage.v1.CSIDriver",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "storage.v1.CSIDriverSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "storage.v1.CSIDriverSpec",
        &[
            field("volumeLifecycleModes", "", Replace, "", Set, &[], false),
            field("tokenRequests", "", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "storage.v1.CSINode",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "storage.v1.CSINodeSpec", Replace, "", Unset, &[], false),
        ],
    ),
    ("storage.v1.CSINodeDriver", &[field("topologyKeys", "", Replace, "", Atomic, &[], false)]),
    ("storage.v1.CSINodeSpec", &[field("drivers", "storage.v1.CSINodeDriver", Merge, "name", Map, &["name"], false)]),
    (
        "storage.v1.CSIStorageCapacity",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("nodeTopology", "meta.v1.LabelSelector", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "storage.v1.StorageClass",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("mountOptions", "", Replace, "", Atomic, &[], false),
            field("allowedTopologies", "core.v1.TopologySelectorTerm", Replace, "", Atomic, &[], false),
        ],
    ),
    (
        "storage.v1.VolumeAttachment",
        &[
            field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false),
            field("spec", "storage.v1.VolumeAttachmentSpec", Replace, "", Unset, &[], false),
        ],
    ),
    (
        "storage.v1.VolumeAttachmentSource",
        &[field("inlineVolumeSpec", "core.v1.PersistentVolumeSpec", Replace, "", Unset, &[], false)],
    ),
    (
        "storage.v1.VolumeAttachmentSpec",
        &[field("source", "storage.v1.VolumeAttachmentSource", Replace, "", Unset, &[], false)],
    ),
    ("storage.v1.VolumeAttributesClass", &[field("metadata", "meta.v1.ObjectMeta", Replace, "", Unset, &[], false)]),
];

/// Types that server-side apply replaces as a whole (`x-kubernetes-map-type: atomic`).
pub(super) static ATOMIC_TYPES: &[&str] = &[
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];
