//! From an inventory to Ready nodes, and that a second apply finds nothing to do.

use std::time::Duration;

use anyhow::{Result, ensure};
use naru_e2e::{Context, command, wait_until};
use naru_machines::test_images;

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "plan shows the steps and changes nothing", run: plan },
        Case { name: "apply makes three Ready nodes", run: apply },
        Case { name: "a second apply finds nothing to do", run: apply_again },
        Case { name: "images are loaded on the hosts", run: load_images },
    ]
}

/// The inventory that users start with, under a name that is ours.
pub(crate) fn write_inventory(context: &Context) -> Result<()> {
    let text = fs_err::read_to_string(Context::root().join("inventories/local.yaml"))?;
    let named = text.replace("name: local", &format!("name: {}", context.name));
    ensure!(named != text, "inventories/local.yaml names its cluster otherwise");
    Ok(fs_err::write(&context.inventory, named)?)
}

fn plan(context: &Context) -> Result<()> {
    write_inventory(context)?;
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    ensure!(context.hosts()?.is_empty(), "a plan made machines");
    Ok(())
}

pub(crate) fn apply(context: &Context) -> Result<()> {
    context.naru(&["apply", "cluster.yaml", "--yes"])?.ok()?;
    context.fetch_kubeconfig()?;
    wait_until("three nodes are Ready", Duration::from_secs(5), || Ok(context.ready_nodes()? == 3))?;
    Ok(())
}

fn apply_again(context: &Context) -> Result<()> {
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.ok()?;
    let said = context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(0)?;
    ensure!(said.to_lowercase().contains("nothing to do"), "a second apply said:\n{said}");
    Ok(())
}

pub(crate) fn load_images(context: &Context) -> Result<()> {
    load_images_on(context, "w1")
}

/// Loads them on all hosts and looks at one.
pub(crate) fn load_images_on(context: &Context, host: &str) -> Result<()> {
    let images = test_images::ensure_all(&context.machines.config().cache)?;
    let archives: Vec<String> = images.iter().map(|image| image.archive.display().to_string()).collect();
    let archives: Vec<&str> = archives.iter().map(String::as_str).collect();
    context.naru(&[&["image", "load", "--file", "cluster.yaml"], &archives[..]].concat())?.ok()?;
    let listed = context.on(host, "ctr -n k8s.io images ls -q")?;
    for image in images {
        ensure!(listed.contains(&image.name), "{} is not on {host}:\n{listed}", image.name);
    }
    Ok(())
}

/// The last case: what `cargo xtask down` does, and what it leaves.
pub(crate) fn leaves_nothing(context: &Context) -> Result<()> {
    context.naru(&["machines", "delete", "--file", "cluster.yaml"])?.ok()?;
    ensure!(context.hosts()?.is_empty(), "machines are left");
    let looks = [
        ("a network namespace", "ip netns list"),
        ("a mount", "cat /proc/self/mounts"),
        ("a process", "ps -eo args"),
        ("a cgroup", "find /sys/fs/cgroup -maxdepth 4 -type d"),
    ];
    for (what, script) in looks {
        let mut shell = std::process::Command::new("sh");
        let said = command(shell.args(["-c", script]), None, Duration::from_secs(10))?.ok()?;
        let ours = said.lines().find(|line| line.contains(&format!("{}-w1", context.name)));
        ensure!(ours.is_none(), "{what} is left: {ours:?}");
    }
    // Names of bridges and tables carry a number only, so these can be looked at when nobody else has a cluster.
    if context.machines.clusters()?.is_empty() {
        for script in ["ip -o link show type bridge", "nft list tables", "find /sys/fs/cgroup -maxdepth 2 -name naru"] {
            let mut shell = std::process::Command::new("sh");
            let said = command(shell.args(["-c", script]), None, Duration::from_secs(10))?.ok()?;
            ensure!(!said.contains("naru"), "{script} still says:\n{said}");
        }
    }
    Ok(())
}
