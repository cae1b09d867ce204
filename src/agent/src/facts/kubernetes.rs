//! Signs of another Kubernetes on this host, which would fight with ours over ports, runtime and network.

use naru_resources::Host;

/// What lives here if one of these paths is there.
const SIGNS: [(&str, &[&str]); 7] = [
    (
        "k3s",
        &[
            "/etc/systemd/system/k3s.service",
            "/etc/systemd/system/k3s-agent.service",
            "/var/lib/rancher/k3s",
            "/usr/local/bin/k3s",
        ],
    ),
    (
        "rke2",
        &[
            "/usr/local/lib/systemd/system/rke2-server.service",
            "/usr/local/lib/systemd/system/rke2-agent.service",
            "/etc/rancher/rke2",
            "/var/lib/rancher/rke2",
        ],
    ),
    (
        "k0s",
        &[
            "/etc/systemd/system/k0scontroller.service",
            "/etc/systemd/system/k0sworker.service",
            "/etc/k0s",
            "/var/lib/k0s",
        ],
    ),
    ("microk8s", &["/var/snap/microk8s", "/snap/microk8s"]),
    ("control plane of kubeadm", &["/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/admin.conf"]),
    ("kubelet of kubeadm", &["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"]),
    ("minikube", &["/var/lib/minikube"]),
];
/// A kubelet's unit, whoever brought it; ours has another name.
const KUBELET_UNITS: [&str; 3] = [
    "/etc/systemd/system/kubelet.service",
    "/usr/lib/systemd/system/kubelet.service",
    "/lib/systemd/system/kubelet.service",
];

pub(super) fn others(host: &Host) -> Vec<String> {
    let there = |paths: &[&str]| paths.iter().any(|path| host.path(path).exists());
    let mut found: Vec<String> =
        SIGNS.iter().filter(|(_, paths)| there(paths)).map(|(name, _)| (*name).to_owned()).collect();
    let known = found.iter().any(|name| name.starts_with("kubelet"));
    if !known && there(&KUBELET_UNITS) {
        found.push("kubelet".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_by_their_signs_and_a_plain_host_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs_err::create_dir_all(host.path("/var/lib/kubelet/pods")).unwrap();
        assert_eq!(others(&host), Vec::<String>::new());
        for folder in ["/var/lib/rancher/k3s", "/etc/kubernetes", "/lib/systemd/system"] {
            fs_err::create_dir_all(host.path(folder)).unwrap();
        }
        fs_err::write(host.path("/lib/systemd/system/kubelet.service"), "").unwrap();
        assert_eq!(others(&host), ["k3s", "kubelet"]);
        fs_err::write(host.path("/etc/kubernetes/kubelet.conf"), "").unwrap();
        assert_eq!(others(&host), ["k3s", "kubelet of kubeadm"]);
    }
}
