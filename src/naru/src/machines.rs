//! Between the inventory's `machines` and the provider: what is wished for, and the hosts that come of it.

use std::collections::BTreeMap;

use naru_inventory::{Host, Inventory, MachineImage, Machines, Role};
use naru_machines::local::{Config, Local};
use naru_machines::{ClusterSpec, Group, ImageSpec, Machine, Power, Progress, Provider, Release};

use crate::exit::Failure;

/// The provider of local machines, set up by the environment.
pub(crate) fn local() -> Local {
    Local::new(Config::from_environment())
}

fn wish(inventory: &Inventory, machines: &Machines) -> ClusterSpec {
    let release = match machines.image {
        MachineImage::Debian12 => Release::Bookworm,
        MachineImage::Debian13 => Release::Trixie,
    };
    let image = if machines.prepared { ImageSpec::prepared(release) } else { ImageSpec::plain(release) };
    let group = |group: &naru_inventory::Group| Group {
        name: group.name.clone(),
        role: match group.role {
            Role::ControlPlane => naru_machines::Role::ControlPlane,
            Role::Worker => naru_machines::Role::Worker,
        },
        count: group.count,
        image: image.clone(),
    };
    ClusterSpec { name: inventory.name().to_owned(), groups: machines.groups.iter().map(group).collect() }
}

/// The inventory with the machines that there are as its hosts, and the names of those that are switched off.
pub(crate) async fn with_hosts(mut inventory: Inventory) -> Result<(Inventory, Vec<String>), Failure> {
    if inventory.spec.machines.is_none() {
        return Ok((inventory, Vec::new()));
    }
    let cluster = inventory.name().to_owned();
    let found = blocking(move || local().list(&cluster)).await?;
    let off = found.iter().filter(|machine| machine.power == Power::Off).map(|machine| machine.host.clone()).collect();
    inventory.spec.hosts = hosts(&inventory, found);
    Ok((inventory, off))
}

/// Makes and starts what is missing.
pub(crate) async fn ensure(
    inventory: &Inventory,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<(), Failure> {
    let Some(machines) = &inventory.spec.machines else { return Ok(()) };
    let wish = wish(inventory, machines);
    blocking(move || local().ensure(&wish, &progress)).await?;
    Ok(())
}

/// Runs provider work, which blocks, beside the asynchronous world.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> naru_machines::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::because("the provider's thread ended", &error)),
    }
}

fn hosts(inventory: &Inventory, found: Vec<Machine>) -> Vec<Host> {
    let running = found.into_iter().filter(|machine| machine.power != Power::Off);
    let mut by_name: BTreeMap<String, Machine> = running.map(|machine| (machine.host.clone(), machine)).collect();
    let groups = inventory.spec.machines.iter().flat_map(|machines| &machines.groups);
    let named = groups.flat_map(|group| group.machine_names().map(move |name| (name, group)));
    named
        .filter_map(|(name, group)| {
            let machine = by_name.remove(&name)?;
            Some(Host {
                user: Some(machine.user),
                port: Some(machine.port),
                key_path: machine.key_path.map(|path| path.to_string_lossy().into_owned()),
                host_key: machine.host_key,
                labels: group.labels.clone(),
                taints: group.taints.clone(),
                ..Host::new(&name, group.role, &machine.address)
            })
        })
        .collect()
}
