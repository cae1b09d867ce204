//! Settings of the system that matter to a cluster: its proxy, and whether its clock is kept in step.

use std::collections::BTreeMap;
use std::time::Duration;

use fs_err as fs;
use naru_resources::{Host, Program};

const ENVIRONMENT: &str = "/etc/environment";
const APT: [&str; 2] = ["/etc/apt/apt.conf", "/etc/apt/apt.conf.d"];
const VARIABLES: [&str; 3] = ["http_proxy", "https_proxy", "no_proxy"];
/// apt's own settings, under the names that they have there.
const APT_SETTINGS: [&str; 2] = ["Acquire::http::Proxy", "Acquire::https::Proxy"];
const MAX_APT_FILES: usize = 64;
/// Touched by systemd-timesyncd whenever it has the time from a server.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
const TIMESYNC_RUNS: &str = "/run/systemd/timesync";
const CHRONY_RUNS: [&str; 2] = ["/run/chrony/chronyd.pid", "/run/chronyd.pid"];
const CHRONY_DEADLINE: Duration = Duration::from_secs(1);
const CONTAINER: &str = "/run/systemd/container";

/// Whether something keeps the clock in step; `None` where nothing that we know would.
pub(super) fn clock_synchronised(host: &Host) -> Option<bool> {
    if host.path(TIMESYNC).exists() {
        return Some(true);
    }
    if CHRONY_RUNS.iter().any(|path| host.path(path).exists()) {
        let asked = Program::new(host, "chronyc").arguments(["-n", "tracking"]).deadline(CHRONY_DEADLINE).run();
        return asked.ok().and_then(|output| chrony_is_in_step(&output.stdout));
    }
    // A container has the clock of the machine outside.
    (host.path(TIMESYNC_RUNS).exists() && !host.path(CONTAINER).exists()).then_some(false)
}

fn chrony_is_in_step(text: &str) -> Option<bool> {
    let status = text.lines().find_map(|line| line.strip_prefix("Leap status"))?;
    Some(status.trim_start_matches([' ', ':']).trim() != "Not synchronised")
}

/// Proxy variables, passwords left out.
pub(super) fn proxy(host: &Host) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in fs::read_to_string(host.path(ENVIRONMENT)).unwrap_or_default().lines() {
        let line = line.trim();
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        if VARIABLES.contains(&name.as_str()) {
            found.insert(name, without_password(value.trim().trim_matches(['"', '\''])));
        }
    }
    for text in apt_files(host) {
        for statement in text.split(['\n', ';']) {
            let mut words = statement.split_whitespace();
            let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else { continue };
            if let Some(setting) = APT_SETTINGS.iter().find(|setting| setting.eq_ignore_ascii_case(name)) {
                found.insert((*setting).to_owned(), without_password(value.trim_matches('"')));
            }
        }
    }
    found
}

fn apt_files(host: &Host) -> Vec<String> {
    let mut paths = vec![host.path(APT[0])];
    if let Ok(entries) = fs::read_dir(host.path(APT[1])) {
        paths.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    paths[1..].sort();
    paths.truncate(MAX_APT_FILES);
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// `http://user:secret@proxy:3128` says nothing about who may use the proxy.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, address)) if scheme.is_empty() => format!("***@{address}"),
        Some((_, address)) => format!("{scheme}://***@{address}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_told_and_their_passwords_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir_all(host.path(APT[1])).unwrap();
        let environment = "PATH=/bin\nHTTP_PROXY=\"http://ann:hunter2@proxy:3128\"\nno_proxy=10.0.0.0/8,.example\n";
        fs::write(host.path(ENVIRONMENT), environment).unwrap();
        fs::write(host.path("/etc/apt/apt.conf.d/9proxy"), "Acquire::http::Proxy \"http://10.0.0.9:3142\";\n").unwrap();
        let found = proxy(&host);
        assert_eq!(found["http_proxy"], "http://***@proxy:3128");
        assert_eq!(found["no_proxy"], "10.0.0.0/8,.example");
        assert_eq!(found["Acquire::http::Proxy"], "http://10.0.0.9:3142");
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_clock_that_is_kept_in_step_leaves_a_sign() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        assert_eq!(clock_synchronised(&host), None);
        fs::create_dir_all(host.path(TIMESYNC_RUNS)).unwrap();
        assert_eq!(clock_synchronised(&host), Some(false));
        fs::write(host.path(TIMESYNC), "").unwrap();
        assert_eq!(clock_synchronised(&host), Some(true));
        assert_eq!(chrony_is_in_step("Stratum : 3\nLeap status     : Normal\n"), Some(true));
        assert_eq!(chrony_is_in_step("Leap status     : Not synchronised\n"), Some(false));
    }
}
