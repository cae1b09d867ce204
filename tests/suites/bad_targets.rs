//! Hosts that cannot be used: each is named in a clear error, and no host is half-changed: what can be done for the
//! others is done whole.

use anyhow::{Result, ensure};
use naru_e2e::Context;
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "two plain machines start", run: start },
        Case { name: "an unreachable host is named", run: unreachable },
        Case { name: "a wrong key is told", run: wrong_key },
        Case { name: "a changed host key is told and nothing is sent", run: changed_host_key },
        Case { name: "the good host is whole, the bad one untouched", run: whole_or_untouched },
    ]
}

fn start(context: &Context) -> Result<()> {
    let image = ImageSpec::plain(Release::Trixie);
    context.machines.ensure(&ClusterSpec::simple(&context.name, 1, 1, &image), &|_| {})?;
    Ok(())
}

/// An inventory of both machines, with the second host's address and host key as given.
fn inventory(context: &Context, address: &str, host_key: &str, key: &str) -> Result<()> {
    let good = context.host("cp1")?;
    let good_key = good.host_key.clone().unwrap_or_default();
    let text = format!(
        "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {}}}\nspec:\n  ssh: {{user: root, keyPath: {key}}}\n  \
         hosts:\n    - {{name: cp1, role: control-plane, address: {}, hostKey: \"{good_key}\"}}\n    \
         - {{name: w1, role: worker, address: {address}, hostKey: \"{host_key}\"}}\n",
        context.name, good.address
    );
    Ok(fs_err::write(&context.inventory, text)?)
}

fn refused(context: &Context, parts: &[&str]) -> Result<()> {
    let output = context.naru(&["apply", "cluster.yaml", "--yes"])?;
    ensure!(matches!(output.code, Some(1 | 2)), "exit {:?}: {}{}", output.code, output.stdout, output.stderr);
    let said = output.stdout + &output.stderr;
    for part in parts {
        ensure!(said.to_lowercase().contains(&part.to_lowercase()), "does not say {part:?}:\n{said}");
    }
    Ok(())
}

fn key(context: &Context) -> String {
    context.machines.key_path(&context.name).display().to_string()
}

fn unreachable(context: &Context) -> Result<()> {
    let good = context.host("cp1")?;
    let beside = good.address.rsplit_once('.').map(|(network, _)| format!("{network}.251")).unwrap_or_default();
    let host_key = context.host("w1")?.host_key.unwrap_or_default();
    inventory(context, &beside, &host_key, &key(context))?;
    refused(context, &["w1", &beside])
}

fn wrong_key(context: &Context) -> Result<()> {
    let wrong = context.folder.join("wrong-key");
    if !wrong.exists() {
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&wrong);
        naru_e2e::command(&mut keygen, None, std::time::Duration::from_secs(10))?.ok()?;
    }
    let machine = context.host("w1")?;
    let host_key = machine.host_key.clone().unwrap_or_default();
    inventory(context, &machine.address, &host_key, &wrong.display().to_string())?;
    refused(context, &["w1", "key"])
}

fn changed_host_key(context: &Context) -> Result<()> {
    let machine = context.host("w1")?;
    let other = context.host("cp1")?.host_key.unwrap_or_default();
    inventory(context, &machine.address, &other, &key(context))?;
    refused(context, &["w1", "host key", "SHA256:"])
}

fn whole_or_untouched(context: &Context) -> Result<()> {
    let left = context
        .on("w1", "ls -d /etc/naru /opt/naru /var/lib/naru/artifacts /etc/systemd/system/naru-node.service || true")?;
    ensure!(left.is_empty(), "left on w1:\n{left}");
    context.fetch_kubeconfig()?;
    ensure!(context.ready_nodes()? == 1, "cp1 was begun and not completed");
    Ok(())
}
