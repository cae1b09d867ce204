//! Nobody may grant what they do not hold: which parts of some rules are not covered by others.

use super::rules::{Rule, path_matches};

/// What `owned` lacks of `wanted`, broken down to single permissions.
pub(crate) fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(singles).filter(|single| !owned.iter().any(|rule| covers(rule, single))).collect()
}

/// The missing permissions, those of one resource on one line, as upstream lists them.
pub(crate) fn describe_uncovered(missing: Vec<Rule>) -> String {
    let mut merged: Vec<Rule> = Vec::new();
    for rule in missing {
        let same = |other: &&mut Rule| {
            other.api_groups == rule.api_groups
                && other.resources == rule.resources
                && other.resource_names == rule.resource_names
                && other.non_resource_urls == rule.non_resource_urls
        };
        match merged.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => merged.push(rule),
        }
    }
    let mut lines: Vec<String> = merged.iter().map(Rule::describe).collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

fn singles(rule: &Rule) -> Vec<Rule> {
    let mut singles = Vec::new();
    let names: Vec<Vec<String>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(|name| vec![name.clone()]).collect(),
    };
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                singles.extend(names.iter().map(|resource_names| Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: resource_names.clone(),
                    ..Rule::default()
                }));
            }
        }
        singles.extend(rule.non_resource_urls.iter().map(|url| Rule {
            verbs: vec![verb.clone()],
            non_resource_urls: vec![url.clone()],
            ..Rule::default()
        }));
    }
    singles
}

fn covers(owned: &Rule, single: &Rule) -> bool {
    let has = |values: &[String], wanted: &String| values.iter().any(|value| value == "*" || value == wanted);
    if !single.verbs.iter().all(|verb| has(&owned.verbs, verb)) {
        return false;
    }
    if let Some(url) = single.non_resource_urls.first() {
        return owned.non_resource_urls.iter().any(|rule| path_matches(rule, url));
    }
    single.api_groups.iter().all(|group| has(&owned.api_groups, group))
        && single.resources.iter().all(|resource| covers_resource(&owned.resources, resource))
        && covers_names(&owned.resource_names, &single.resource_names)
}

fn covers_resource(owned: &[String], wanted: &str) -> bool {
    owned.iter().any(|rule| {
        rule == "*"
            || rule == wanted
            || matches!((rule.strip_prefix("*/"), wanted.split_once('/')), (Some(a), Some((_, b))) if a == b)
    })
}

fn covers_names(owned: &[String], wanted: &[String]) -> bool {
    owned.is_empty() || !wanted.is_empty() && wanted.iter().all(|name| owned.contains(name))
}
