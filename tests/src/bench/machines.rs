//! Three real machines on this computer: a whole apply, one with nothing to do, one with one label.

use std::time::Instant;

use anyhow::{Result, ensure};
use naru_e2e::{Context, say};
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};

const RUNS: usize = 3;

pub(crate) fn run(context: &Context) -> Result<()> {
    let text = fs_err::read_to_string(Context::root().join("inventories/local.yaml"))?;
    let text = text.replace("name: local", &format!("name: {}", context.name));
    fs_err::write(&context.inventory, &text)?;
    context.machines.delete(&context.name)?;
    let spec = ClusterSpec::simple(&context.name, 1, 2, &ImageSpec::prepared(Release::Trixie));
    context.machines.ensure(&spec, &|_| {})?;
    say("\nthree real machines (one control plane, two workers; containerd installed; journal and store fsynced)");
    let whole = timed(context)?;
    say(&format!("    whole apply            {whole:6.2} s"));
    let mut nothing = (0..RUNS).map(|_| timed(context)).collect::<Result<Vec<f64>>>()?;
    nothing.sort_by(f64::total_cmp);
    say(&format!("    no-op apply            {:6.2} s (median of {RUNS})", nothing[RUNS / 2]));
    let labelled = label_a_worker(&text);
    ensure!(labelled != text, "inventories/local.yaml has no group of workers to label");
    fs_err::write(&context.inventory, labelled)?;
    say(&format!("    apply of one label     {:6.2} s", timed(context)?));
    Ok(())
}

fn timed(context: &Context) -> Result<f64> {
    let started = Instant::now();
    context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(0)?;
    Ok(started.elapsed().as_secs_f64())
}

/// The group of workers gets one label more.
fn label_a_worker(text: &str) -> String {
    text.replace("role: worker,", "role: worker, labels: {bench: label},")
}
