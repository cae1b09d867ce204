//! The arithmetic of rollouts: how many replicas each replica set should have. Pure.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS};
use crate::runtime::meta;

pub(super) fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>, count: fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(count).sum()
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// A count or a percentage of `whole`.
fn scaled(value: Option<&IntOrString>, whole: i32, round_up: bool) -> i32 {
    match value {
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or(0);
            let product = percent * i64::from(whole);
            let quotient = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(quotient).unwrap_or(i32::MAX)
        }
        None => scaled(Some(&IntOrString::String("25%".into())), whole, round_up),
    }
}

/// (surge, unavailable); never both zero, or nothing could move.
pub(super) fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling(deployment) || desired(deployment) == 0 {
        return (0, 0);
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let whole = desired(deployment);
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), whole, true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), whole, false);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (surge, unavailable.min(whole))
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    fenceposts(deployment).1
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// Size for the new replica set: as much as the surge allows, never more than desired.
pub(super) fn new_set_size(deployment: &Deployment, all_sets_total: i32, current: i32) -> i32 {
    if !is_rolling(deployment) {
        return desired(deployment);
    }
    let most = desired(deployment) + max_surge(deployment);
    if all_sets_total >= most {
        return current;
    }
    current + (most - all_sets_total).min(desired(deployment) - current)
}

/// Sizes for the old sets while a rolling update goes on, in their order: first unhealthy replicas go, then healthy
/// ones as
/// far as availability allows. `None` if nothing may be taken away.
pub(super) fn old_set_sizes(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
) -> Option<Vec<i32>> {
    let old_total = total(old.iter().copied(), size);
    if old_total == 0 {
        return None;
    }
    let new_size = new.map_or(0, size);
    let new_available = new.map_or(0, available);
    let least_available = desired(deployment) - max_unavailable(deployment);
    let removable = old_total + new_size - least_available - (new_size - new_available);
    if removable <= 0 {
        return None;
    }
    let mut sizes: Vec<i32> = old.iter().map(|set| size(set)).collect();
    let mut removed = 0;
    for (index, set) in old.iter().enumerate() {
        let unhealthy = (sizes[index] - available(set)).max(0).min(removable - removed);
        sizes[index] -= unhealthy;
        removed += unhealthy;
    }
    let all_available = total(old.iter().copied(), available) + new_available;
    let mut spare = (all_available - least_available).max(0);
    for remaining in &mut sizes {
        let taken = (*remaining).min(spare);
        *remaining -= taken;
        spare -= taken;
    }
    Some(sizes)
}

/// Sizes after the deployment itself was scaled in the middle of a rollout: each active set gets its share. The
/// largest set (the newest
/// of equals when growing, the oldest when shrinking) takes what rounding leaves over. Order of `active` is kept.
pub(super) fn proportional_sizes(deployment: &Deployment, active: &[&ReplicaSet]) -> Vec<i32> {
    let current = total(active.iter().copied(), size);
    let allowed = if desired(deployment) > 0 { desired(deployment) + max_surge(deployment) } else { 0 };
    let to_add = allowed - current;
    let mut order: Vec<usize> = (0..active.len()).collect();
    let created = |index: &usize| active[*index].metadata.creation_timestamp.clone();
    order.sort_by(|left, right| {
        let by_size = size(active[*right]).cmp(&size(active[*left]));
        let by_age = created(left).cmp(&created(right));
        by_size.then(if to_add > 0 { by_age.reverse() } else { by_age })
    });
    let mut sizes: Vec<i32> = active.iter().map(|set| size(set)).collect();
    let mut added = 0;
    for index in &order {
        let share = proportion(deployment, active[*index], to_add, added);
        sizes[*index] += share;
        added += share;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + to_add - added).max(0);
    }
    sizes
}

fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let allowed = to_add - added;
    let share = fraction(deployment, set);
    if to_add > 0 { share.min(allowed) } else { share.max(allowed) }
}

fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    if desired(deployment) == 0 {
        return -size(set);
    }
    let annotated = meta::annotation(&set.metadata, MAX_REPLICAS).and_then(|text| text.parse::<i32>().ok());
    let before = annotated.or_else(|| deployment.status.as_ref().and_then(|status| status.replicas)).unwrap_or(0);
    if before <= 0 {
        return 0;
    }
    let most = f64::from(desired(deployment) + max_surge(deployment));
    let target = f64::from(size(set)) * most / f64::from(before);
    // Replica counts are far below what f64 holds exactly.
    target.round() as i32 - size(set)
}

/// The deployment was scaled since its sets were sized.
pub(super) fn is_scaling(deployment: &Deployment, sets: &[&ReplicaSet]) -> bool {
    sets.iter().filter(|set| size(set) > 0).any(|set| {
        let noted = meta::annotation(&set.metadata, DESIRED_REPLICAS).and_then(|text| text.parse::<i32>().ok());
        noted.is_some_and(|noted| noted != desired(deployment))
    })
}

/// The new set alone serves everything that is desired.
pub(super) fn is_saturated(deployment: &Deployment, set: Option<&ReplicaSet>) -> bool {
    let Some(set) = set else { return false };
    let noted = meta::annotation(&set.metadata, DESIRED_REPLICAS).and_then(|text| text.parse::<i32>().ok());
    let wanted = desired(deployment);
    size(set) == wanted && noted == Some(wanted) && available(set) == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge,
                    "maxUnavailable": unavailable}}}
        }))
        .unwrap()
    }

    fn set(size: i32, available: i32, noted: Option<(i32, i32)>, age: u32) -> ReplicaSet {
        let mut value = json!({
            "metadata": {"name": "web-x", "creationTimestamp": format!("2026-01-01T00:{:02}:00Z", 59 - age)},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available}
        });
        if let Some((desired, most)) = noted {
            value["metadata"]["annotations"] =
                json!({DESIRED_REPLICAS: desired.to_string(), MAX_REPLICAS: most.to_string()});
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn percentages_round_in_favour_of_availability() {
        assert_eq!(fenceposts(&deployment(3, json!("25%"), json!("25%"))), (1, 0));
        assert_eq!(fenceposts(&deployment(10, json!("25%"), json!("25%"))), (3, 2));
        assert_eq!(fenceposts(&deployment(10, json!(0), json!(0))), (0, 1));
        assert_eq!(fenceposts(&deployment(2, json!(1), json!(5))), (1, 2));
        assert_eq!(fenceposts(&deployment(0, json!(1), json!(1))), (0, 0));
        assert_eq!(fenceposts(&deployment(1, json!("100%"), json!("1%"))), (1, 0));
    }

    #[test]
    fn the_new_set_grows_within_the_surge() {
        let web = deployment(10, json!(3), json!(2));
        assert_eq!(new_set_size(&web, 10, 0), 3);
        assert_eq!(new_set_size(&web, 13, 5), 5);
        assert_eq!(new_set_size(&web, 2, 2), 10);
        assert_eq!(new_set_size(&web, 0, 0), 10);
    }

    #[test]
    fn a_default_rollout_never_drops_below_desired() {
        let web = deployment(3, json!("25%"), json!("25%"));
        let old = set(3, 3, None, 10);
        assert_eq!(old_set_sizes(&web, Some(&set(1, 0, None, 0)), &[&old]), None);
        assert_eq!(old_set_sizes(&web, Some(&set(1, 1, None, 0)), &[&old]), Some(vec![2]));
    }

    #[test]
    fn unhealthy_old_replicas_go_first() {
        let web = deployment(10, json!(3), json!(2));
        let sick = set(3, 0, None, 10);
        let well = set(8, 8, None, 20);
        // 11 old and 2 new, of which none available: 13 - 8 - 2 = 3 may go, all of them sick.
        assert_eq!(old_set_sizes(&web, Some(&set(2, 0, None, 0)), &[&well, &sick]), Some(vec![8, 0]));
    }

    #[test]
    fn scaling_in_the_middle_is_shared() {
        let web = deployment(20, json!(0), json!(1));
        let noted = Some((10, 10));
        let (left, right) = (set(5, 5, noted, 10), set(5, 5, noted, 0));
        assert!(is_scaling(&web, &[&left, &right]));
        assert_eq!(proportional_sizes(&web, &[&left, &right]), vec![10, 10]);
        let web = deployment(15, json!(0), json!(1));
        let sizes = proportional_sizes(&web, &[&left, &right]);
        assert_eq!(sizes, vec![7, 8], "the newest takes what is left over");
        let web = deployment(5, json!(0), json!(1));
        assert_eq!(proportional_sizes(&web, &[&left, &right]).iter().sum::<i32>(), 5);
        let web = deployment(0, json!(0), json!(1));
        assert_eq!(proportional_sizes(&web, &[&left, &right]), vec![0, 0]);
    }

    #[test]
    fn saturation_needs_all_three() {
        let web = deployment(3, json!(1), json!(0));
        assert!(is_saturated(&web, Some(&set(3, 3, Some((3, 4)), 0))));
        assert!(!is_saturated(&web, Some(&set(3, 2, Some((3, 4)), 0))));
        assert!(!is_saturated(&web, Some(&set(3, 3, Some((2, 4)), 0))));
        assert!(!is_saturated(&web, None));
    }
}
