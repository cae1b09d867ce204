//! Rows of the smaller groups: access, coordination, discovery, events, networking, node, storage, certificates.

use super::{CREATE, GET_PATCH_UPDATE, PLAIN, row, status, subresource};
use crate::resource::Scope::{Cluster, Namespaced};
use crate::resource::{Resource, StoredAs, Strategy};
use crate::{convert, defaults, print, validate};

const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");

pub(super) const ROWS: &[Resource] = &[
    Resource {
        short_names: &["ev"],
        fields: &[
            ("regarding.kind", "/regarding/kind"),
            ("regarding.namespace", "/regarding/namespace"),
            ("regarding.name", "/regarding/name"),
            ("regarding.uid", "/regarding/uid"),
            ("regarding.apiVersion", "/regarding/apiVersion"),
            ("regarding.resourceVersion", "/regarding/resourceVersion"),
            ("regarding.fieldPath", "/regarding/fieldPath"),
            ("reason", "/reason"),
            ("reportingController", "/reportingController"),
            ("source", "/deprecatedSource/component|/reportingController"),
            ("type", "/type"),
        ],
        columns: print::EVENT_V1,
        strategy: Strategy { create_on_update: true, validate: validate::event_v1, ..PLAIN },
        stored_as: Some(StoredAs {
            group: "",
            version: "v1",
            to_stored: convert::event_to_core,
            from_stored: convert::event_from_core,
        }),
        ..row(("events.k8s.io", "v1"), "Event", "events", "event", Namespaced)
    },
    Resource {
        verbs: CREATE,
        ..row(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", Cluster)
    },
    Resource { verbs: CREATE, ..row(AUTHENTICATION, "TokenReview", "tokenreviews", "tokenreview", Cluster) },
    Resource {
        verbs: CREATE,
        ..row(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
            Namespaced,
        )
    },
    Resource {
        verbs: CREATE,
        ..row(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", Cluster)
    },
    Resource {
        verbs: CREATE,
        ..row(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", Cluster)
    },
    Resource {
        verbs: CREATE,
        ..row(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", Cluster)
    },
    Resource {
        short_names: &["csr"],
        subresources: &[
            subresource("approval", "certificates.k8s.io", "v1", "CertificateSigningRequest", GET_PATCH_UPDATE),
            status("certificates.k8s.io", "v1", "CertificateSigningRequest"),
        ],
        fields: &[("spec.signerName", "/spec/signerName")],
        columns: print::CERTIFICATE_SIGNING_REQUEST,
        strategy: Strategy { validate: validate::certificate_signing_request, ..PLAIN },
        ..row(
            ("certificates.k8s.io", "v1"),
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "certificatesigningrequest",
            Cluster,
        )
    },
    Resource {
        short_names: &["ing"],
        subresources: &[status("networking.k8s.io", "v1", "Ingress")],
        columns: print::INGRESS,
        strategy: Strategy { validate: validate::ingress, generation: true, ..PLAIN },
        ..row(NETWORKING, "Ingress", "ingresses", "ingress", Namespaced)
    },
    Resource {
        columns: print::INGRESS_CLASS,
        strategy: Strategy { default: defaults::ingress_class, generation: true, ..PLAIN },
        ..row(NETWORKING, "IngressClass", "ingressclasses", "ingressclass", Cluster)
    },
    Resource {
        short_names: &["netpol"],
        columns: print::NETWORK_POLICY,
        strategy: Strategy {
            default: defaults::network_policy,
            validate: validate::network_policy,
            generation: true,
            ..PLAIN
        },
        ..row(NETWORKING, "NetworkPolicy", "networkpolicies", "networkpolicy", Namespaced)
    },
    Resource {
        strategy: Strategy {
            default: defaults::role_binding,
            validate: validate::role_binding,
            validate_update: validate::role_binding_update,
            create_on_update: true,
            ..PLAIN
        },
        columns: print::ROLE_BINDING,
        ..row(RBAC, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", Cluster)
    },
    Resource {
        columns: print::ROLE,
        strategy: Strategy { validate: validate::role, create_on_update: true, ..PLAIN },
        ..row(RBAC, "ClusterRole", "clusterroles", "clusterrole", Cluster)
    },
    Resource {
        strategy: Strategy {
            default: defaults::role_binding,
            validate: validate::role_binding,
            validate_update: validate::role_binding_update,
            create_on_update: true,
            ..PLAIN
        },
        columns: print::ROLE_BINDING,
        ..row(RBAC, "RoleBinding", "rolebindings", "rolebinding", Namespaced)
    },
    Resource {
        columns: print::ROLE,
        strategy: Strategy { validate: validate::role, create_on_update: true, ..PLAIN },
        ..row(RBAC, "Role", "roles", "role", Namespaced)
    },
    Resource {
        columns: print::CSI_DRIVER,
        strategy: Strategy { default: defaults::csi_driver, generation: true, ..PLAIN },
        ..row(STORAGE, "CSIDriver", "csidrivers", "csidriver", Cluster)
    },
    Resource { columns: print::CSI_NODE, ..row(STORAGE, "CSINode", "csinodes", "csinode", Cluster) },
    Resource {
        columns: print::CSI_STORAGE_CAPACITY,
        ..row(STORAGE, "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity", Namespaced)
    },
    Resource {
        short_names: &["sc"],
        columns: print::STORAGE_CLASS,
        strategy: Strategy { default: defaults::storage_class, validate: validate::storage_class, ..PLAIN },
        ..row(STORAGE, "StorageClass", "storageclasses", "storageclass", Cluster)
    },
    Resource {
        subresources: &[status("storage.k8s.io", "v1", "VolumeAttachment")],
        columns: print::VOLUME_ATTACHMENT,
        ..row(STORAGE, "VolumeAttachment", "volumeattachments", "volumeattachment", Cluster)
    },
    Resource {
        columns: print::LEASE,
        strategy: Strategy { validate: validate::lease, create_on_update: true, ..PLAIN },
        ..row(("coordination.k8s.io", "v1"), "Lease", "leases", "lease", Namespaced)
    },
    Resource {
        columns: print::ENDPOINT_SLICE,
        strategy: Strategy {
            default: defaults::endpoint_slice,
            validate: validate::endpoint_slice,
            generation: true,
            ..PLAIN
        },
        ..row(("discovery.k8s.io", "v1"), "EndpointSlice", "endpointslices", "endpointslice", Namespaced)
    },
    Resource {
        columns: print::RUNTIME_CLASS,
        ..row(("node.k8s.io", "v1"), "RuntimeClass", "runtimeclasses", "runtimeclass", Cluster)
    },
];
