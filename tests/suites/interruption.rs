//! `naru apply` killed at any moment and run again ends in the same cluster.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use naru_e2e::{Context, say};
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};

use crate::{Case, first_cluster};

const KILLS: u32 = 10;
/// Before this moment nothing has begun yet.
const EARLIEST: Duration = Duration::from_millis(50);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "apply killed at ten random moments ends in the same cluster", run: kill_and_repeat },
        Case { name: "and that cluster runs workloads", run: works },
    ]
}

fn fresh_machines(context: &Context) -> Result<()> {
    context.machines.delete(&context.name)?;
    let spec = ClusterSpec::simple(&context.name, 1, 2, &ImageSpec::prepared(Release::Trixie));
    context.machines.ensure(&spec, &|_| {})?;
    Ok(())
}

fn kill_and_repeat(context: &Context) -> Result<()> {
    first_cluster::write_inventory(context)?;
    fresh_machines(context)?;
    let start = Instant::now();
    first_cluster::apply(context)?;
    let whole = start.elapsed();
    // Another seed in every run; the moments are told, so that one can be tried again.
    let mut random = u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos());
    for kill in 1..=KILLS {
        fresh_machines(context)?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) % 1000;
        let moment = EARLIEST + (whole - EARLIEST) * u32::try_from(share)? / 1000;
        kill_after(context, moment)?;
        say(&format!("          kill {kill}: {} ms into an apply of {} ms", moment.as_millis(), whole.as_millis()));
        first_cluster::apply(context)?;
        let said = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(0)?;
        ensure!(said.to_lowercase().contains("nothing to do"), "after kill {kill}: {said}");
    }
    Ok(())
}

fn kill_after(context: &Context, moment: Duration) -> Result<()> {
    let mut apply = context.naru_command(&["apply", "cluster.yaml", "--yes"]);
    apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = apply.spawn()?;
    let start = Instant::now();
    while start.elapsed() < moment && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn works(context: &Context) -> Result<()> {
    first_cluster::load_images(context)?;
    context.kubectl(&["apply", "-f", "tests/workloads/web.yaml"])?;
    context.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    Ok(())
}
