//! Commands of the operator's at their places: before everything and after everything that is done to a host. Those
//! around connections are none of the plan's business.

use naru_inventory::{HookMoment, HookPlace, Host};

use super::draft::{Draft, line, name};
use super::versions::Climb;
use super::world::World;
use crate::plan::Action;

/// Beyond the hook's own deadline, for the answer to come.
const GRACE_SECONDS: u32 = 30;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// When, what it is called in ids, on which side of the host's steps.
const MOMENTS: [(HookMoment, &str, Side); 6] = [
    (HookMoment::BeforeApply, "before-apply", Side::Before),
    (HookMoment::BeforeUpgrade, "before-upgrade", Side::Before),
    (HookMoment::BeforeReset, "before-reset", Side::Before),
    (HookMoment::AfterReset, "after-reset", Side::After),
    (HookMoment::AfterUpgrade, "after-upgrade", Side::After),
    (HookMoment::AfterApply, "after-apply", Side::After),
];

pub(super) fn add(world: &World<'_>, climb: &Climb, draft: &mut Draft) {
    let inventory = world.blueprint.inventory;
    if inventory.spec.hooks.is_empty() {
        return;
    }
    for host in &inventory.spec.hosts {
        let steps: Vec<usize> =
            draft.of_host(&host.name).iter().copied().filter(|number| is_of_host(*number, draft)).collect();
        if !steps.is_empty() {
            around(world, climb, host, &steps, draft);
        }
    }
}

/// Whether it is about the host itself: documents are only asked through it.
fn is_of_host(number: usize, draft: &Draft) -> bool {
    draft.steps[number].name != name::MANIFEST
}

fn around(world: &World<'_>, climb: &Climb, host: &Host, steps: &[usize], draft: &mut Draft) {
    let resets = steps.iter().any(|number| draft.steps[*number].step.action == Action::Reset);
    let batch = steps.iter().filter_map(|number| draft.steps[*number].step.batch).min();
    let last_batch = steps.iter().filter_map(|number| draft.steps[*number].step.batch).max();
    let mut before: Vec<usize> = Vec::new();
    let mut after: Vec<usize> = Vec::new();
    for (moment, shown, side) in MOMENTS {
        let happens = match moment {
            HookMoment::BeforeReset | HookMoment::AfterReset => resets,
            HookMoment::BeforeUpgrade | HookMoment::AfterUpgrade => climb.is_upgrade(&host.name),
            _ => true,
        };
        let hooks = world.blueprint.inventory.spec.hooks.iter().filter(|hook| hook.when == moment);
        let of_host = hooks.filter(|hook| hook.is_for(host));
        for (index, hook) in of_host.enumerate().filter(|_| happens) {
            let place = if hook.on == HookPlace::Operator { " on the operator's machine" } else { "" };
            let changes = vec![line(format!("run hook `{}`{place}", hook.name))];
            let title = format!("run hooks {}", shown.replace('-', " "));
            let id = format!("{shown}-{}", index + 1);
            let number =
                draft.add_as(&host.name, None, "hook", &id, &title, Action::Hook { hook: hook.clone() }, changes);
            draft.steps[number].step.deadline_seconds = hook.timeout_seconds + GRACE_SECONDS;
            match side {
                Side::Before => {
                    draft.wait(number, before.last().copied());
                    before.push(number);
                }
                Side::After => {
                    draft.wait(number, steps.iter().copied().chain(after.last().copied()));
                    after.push(number);
                }
            }
        }
    }
    let Some(&last) = before.last() else {
        set_batch(&after, last_batch, draft);
        return;
    };
    // A worker that is changed in its turn is left in peace until then.
    if batch.is_some() {
        let of_batch = steps.iter().filter(|number| draft.steps[**number].step.batch == batch);
        let waits: Vec<usize> = of_batch.flat_map(|number| draft.steps[*number].after.clone()).collect();
        let waits: Vec<usize> =
            waits.into_iter().filter(|number| draft.steps[*number].step.host != host.name).collect();
        draft.wait(before[0], waits);
        let early: Vec<usize> =
            steps.iter().copied().filter(|number| draft.steps[*number].step.batch.is_none()).collect();
        set_batch(&early, batch, draft);
        set_batch(&before, batch, draft);
    }
    set_batch(&after, last_batch, draft);
    for &number in steps {
        draft.wait(number, [last]);
    }
}

fn set_batch(numbers: &[usize], batch: Option<u32>, draft: &mut Draft) {
    for &number in numbers {
        draft.steps[number].step.batch = batch;
    }
}
