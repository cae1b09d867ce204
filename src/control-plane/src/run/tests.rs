//! The whole control plane in one process, asked as its own clients ask it.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, ListParams, PostParams};

use super::*;

/// Keys and certificates of a control plane in `folder`, and its configuration.
fn configuration(folder: &Path) -> PathBuf {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    let account_key = rcgen::KeyPair::generate().unwrap();
    let files = [
        ("ca.crt", certificate.pem()),
        ("ca.key", authority_key.serialize_pem()),
        ("sa.key", account_key.serialize_pem()),
        ("sa.pub", account_key.public_key_pem()),
    ];
    for (name, text) in files {
        fs_err::write(folder.join(name), text).unwrap();
    }
    let at = |name: &str| folder.join(name).display().to_string();
    let (certificate, key, private, public) = (at("ca.crt"), at("ca.key"), at("sa.key"), at("sa.pub"));
    let text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: ControlPlaneConfiguration\nname: cp1\n\
         bindAddress: 127.0.0.1\nport: 6443\n\
         advertiseAddress: 10.1.0.11\ndataDirectory: {}\npki: {{certificateAuthority: {certificate}, \
         certificateAuthorityKey: {key}, certificate: {certificate}, key: {key}, \
         kubeletClientCertificate: {certificate}, \
         kubeletClientKey: {key}, serviceAccountKey: {private}, serviceAccountPublicKey: {public}}}\n\
         podCIDR: 10.244.0.0/16\nserviceCIDR: 10.96.0.0/16\nclusterDomain: cluster.local\ndnsServiceIP: 10.96.0.10\n",
        folder.join("data").display()
    );
    let path = folder.join("control-plane.yaml");
    fs_err::write(&path, text).unwrap();
    path
}

async fn started(folder: &Path) -> ApiServer {
    // Several tests of one process install it; the first wins.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::load(&configuration(folder)).unwrap();
    let objects = open_store(&config).await.unwrap();
    let server = build(&config, &objects).unwrap();
    prepare(&config, &objects, &server).await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_chain_serves_clients_of_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(folder.path()).await;
    let controllers = in_process::client(&server, CONTROLLER_MANAGER);
    let namespaces = Api::<Namespace>::all(controllers.clone()).list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = namespaces.into_iter().filter_map(|namespace| namespace.metadata.name).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let services = Api::<Service>::all(controllers.clone()).list(&ListParams::default()).await.unwrap();
    let address = |service: &Service| service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap();
    assert_eq!(services.iter().map(address).collect::<Vec<_>>(), ["10.96.0.1", "10.96.0.10"]);
    let roles = Api::<ClusterRole>::all(controllers).list(&ListParams::default()).await.unwrap();
    assert!(roles.items.len() > 40);
    let scheduler = in_process::client(&server, SCHEDULER);
    let map = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("x".into()), ..Default::default() },
        ..Default::default()
    };
    let error = Api::<ConfigMap>::default_namespaced(scheduler).create(&PostParams::default(), &map).await.unwrap_err();
    assert!(
        error.to_string().contains(
            "configmaps is forbidden: User \"system:kube-scheduler\" cannot create resource \"configmaps\" \
             in API group \"\" \
             in the namespace \"default\""
        ),
        "{error}"
    );
    let admin = in_process::client(&server, "nobody");
    let who = Api::<SelfSubjectReview>::all(admin)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    assert_eq!(who.status.unwrap().user_info.unwrap().username.as_deref(), Some("nobody"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_stands_between_clients_and_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(folder.path()).await;
    let controllers = in_process::client(&server, CONTROLLER_MANAGER);
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap();
    let pods = Api::<Pod>::default_namespaced(controllers);
    let error = pods.create(&PostParams::default(), &pod).await.unwrap_err().to_string();
    assert!(
        error.contains("error looking up service account default/default: serviceaccount \"default\" not found"),
        "{error}"
    );
}
