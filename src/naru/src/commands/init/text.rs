//! The inventory as text, with comments that say what else could stand there.

use std::fmt::Write as _;

use naru_inventory::edit::{flow_text, scalar};
use naru_inventory::{Host, Role};

use super::probe::Looked;
use super::{Login, Target};

/// As many control planes survive the loss of one.
const SEVERAL_CONTROL_PLANES: usize = 3;

const NETWORK: &str = "  # network:                      # these are the defaults; change what meets your own networks
  #   podCIDR: 10.244.0.0/16
  #   serviceCIDR: 10.96.0.0/16
  #   domain: cluster.local
";

fn head(name: &str) -> String {
    format!(
        "# A Naru cluster. `naru plan` shows what would change, `naru apply` makes it so.\n\
         # All fields: `naru explain-field`; one of them: `naru explain-field spec.hosts.taints`.\n\
         apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {}\nspec:\n",
        scalar(name)
    )
}

pub(super) fn local(name: &str) -> String {
    format!(
        "{}{NETWORK}  # Machines on this computer, made out of systemd-nspawn.\n  machines:\n    provider: local\n    \
         image: debian-13              # or debian-12\n    groups:\n      \
         - {{name: cp, role: control-plane, count: 1}}\n      \
         - {{name: w, role: worker, count: 2}}    # also: labels: {{disk: ssd}}\n",
        head(name)
    )
}

/// The hosts before anybody has looked at them.
pub(super) fn draft(login: &Login, targets: &[Target]) -> Vec<Host> {
    let host = |(index, target): (usize, &Target)| {
        let (name, role) = match index {
            0 => ("cp1".to_owned(), Role::ControlPlane),
            _ => (format!("w{index}"), Role::Worker),
        };
        Host {
            user: target.user.clone().filter(|user| *user != login.user),
            port: target.port,
            host_key: target.host_key.clone(),
            ..Host::new(&name, role, &target.address)
        }
    };
    targets.iter().enumerate().map(host).collect()
}

pub(super) fn for_hosts(name: &str, login: &Login, hosts: &[Host], looked: &Looked) -> String {
    let mut text = head(name);
    let user = format!("    user: {}", scalar(&login.user));
    let _ = writeln!(text, "  ssh:\n{user:35}# root, or one with sudo or doas");
    match &login.key {
        Some(key) => {
            let _ = writeln!(text, "    keyPath: {}", scalar(key));
        }
        None => text.push_str("    # keyPath: ~/.ssh/id_ed25519  # default: the SSH agent, then the usual files\n"),
    }
    if login.user != "root" {
        text.push_str("    # become: {password: \"${SUDO_PASSWORD}\"}  # where sudo or doas asks for one\n");
    }
    text.push_str(NETWORK);
    if hosts.iter().any(|host| host.host_key.is_none()) {
        text.push_str(
            "  # Host keys are looked up in ~/.ssh/known_hosts, unless `hostKey: ssh-ed25519 AAAA…` pins one here.\n",
        );
    }
    if let Some(remark) = &looked.remark {
        let _ = writeln!(text, "  # {}", remark.replace('\n', " "));
    }
    if hosts.len() >= SEVERAL_CONTROL_PLANES {
        text.push_str(
            "  # Three control planes would survive the loss of one; Naru cannot do that yet, so there is one.\n",
        );
    }
    text.push_str("  hosts:\n");
    for host in hosts {
        let comment = looked.comment(host).map(|comment| format!("  # {comment}")).unwrap_or_default();
        let _ = writeln!(text, "    - {}{comment}", flow_text(host));
    }
    text.push_str("    # also: labels: {disk: ssd}, taints: [{key: gpu, value: a, effect: NoSchedule}]\n");
    text
}
