//! Three plain machines that Naru knows nothing of, one Debian 12 and two Debian 13, become a cluster by what a user
//! types: `naru init --provider ssh --host …`, then `naru apply`.

use anyhow::{Result, ensure};
use naru_e2e::Context;
use naru_machines::{ClusterSpec, Group, ImageSpec, Provider, Release, Role};

use crate::{Case, first_cluster};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "three plain Debian machines start", run: start },
        Case { name: "init writes an inventory that apply takes as it is", run: init },
        Case { name: "apply makes three Ready nodes of them", run: first_cluster::apply },
        Case { name: "the releases are what they are", run: releases },
        Case { name: "a second apply finds nothing to do", run: again },
    ]
}

fn start(context: &Context) -> Result<()> {
    let group = |name: &str, role, count, release| Group {
        name: name.to_owned(),
        role,
        count,
        image: ImageSpec::plain(release),
    };
    let groups = vec![
        group("cp", Role::ControlPlane, 1, Release::Trixie),
        group("old", Role::Worker, 1, Release::Bookworm),
        group("new", Role::Worker, 1, Release::Trixie),
    ];
    context.machines.ensure(&ClusterSpec { name: context.name.clone(), groups }, &|_| {})?;
    Ok(())
}

fn init(context: &Context) -> Result<()> {
    if context.inventory.exists() {
        fs_err::remove_file(&context.inventory)?;
    }
    let hosts: Vec<String> = context.hosts()?.iter().map(|host| format!("root@{}", host.address)).collect();
    let key = context.machines.key_path(&context.name).display().to_string();
    let mut arguments = vec!["init", "--provider", "ssh", "--name", &context.name, "-f", "cluster.yaml"];
    arguments.extend(["--key", &key, "--accept-new-host-keys"]);
    for host in &hosts {
        arguments.extend(["--host", host]);
    }
    context.naru(&arguments)?.ok()?;
    let text = fs_err::read_to_string(&context.inventory)?;
    ensure!(text.contains("hosts:") && text.contains('#'), "the inventory is:\n{text}");
    Ok(())
}

fn releases(context: &Context) -> Result<()> {
    let nodes = context.kubectl(&["get", "nodes", "-o", "wide"])?;
    let count = |text: &str| nodes.matches(text).count();
    ensure!(count("GNU/Linux 12") == 1 && count("GNU/Linux 13") == 2, "nodes:\n{nodes}");
    Ok(())
}

fn again(context: &Context) -> Result<()> {
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.ok()?;
    Ok(())
}
