//! `naru apply` killed at any moment and run again ends in the same cluster.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use naru_e2e::{Context, say};

use crate::{Case, first_cluster};

const KILLS: u64 = 10;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "apply killed at ten moments, then run to the end", run: kill_and_repeat },
        Case { name: "the cluster is the same as any other", run: complete },
    ]
}

fn kill_and_repeat(context: &Context) -> Result<()> {
    first_cluster::write_inventory(context)?;
    // The machines are made first, so that every kill falls into the work on hosts.
    let spec = naru_machines::ClusterSpec::simple(
        &context.name,
        1,
        2,
        &naru_machines::ImageSpec::prepared(Default::default()),
    );
    naru_machines::Provider::ensure(&context.machines, &spec, &|_| {})?;
    // Moments spread over a whole apply; different in every run, and told, so that one can be tried again.
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
    for kill in 0..KILLS {
        let jitter = (u64::from(seed) >> kill) % 900;
        let moment = Duration::from_millis(300 + kill * 900 + jitter);
        let mut apply = context.naru_command(&["apply", "cluster.yaml", "--yes"]);
        apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let start = Instant::now();
        let mut child = apply.spawn()?;
        while start.elapsed() < moment && child.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        say(&format!(
            "          kill {}: after {} ms{}",
            kill + 1,
            moment.as_millis(),
            if ended.is_some() { " (had ended)" } else { "" }
        ));
    }
    Ok(())
}

fn complete(context: &Context) -> Result<()> {
    first_cluster::apply(context)?;
    let said = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(0)?;
    ensure!(!said.is_empty(), "plan said nothing");
    first_cluster::load_images(context)?;
    context.kubectl(&["apply", "-f", "tests/workloads/web.yaml"])?;
    context.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    Ok(())
}
