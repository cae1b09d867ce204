//! Who we are, for whoever finds the lock taken, and for the journal.

use std::ffi::OsString;

use jiff::Timestamp;

/// `ann@desk (naru process 4711, begun 2026-11-20T12:00:00Z)`; of this run only.
pub(crate) fn owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = user(&|name| std::env::var_os(name), rustix::process::getuid().as_raw());
    let begun = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{user}@{host} (naru process {}, begun {begun})", std::process::id())
}

/// The person before the account: who used sudo is more of a help than `root`.
fn user(variable: &dyn Fn(&str) -> Option<OsString>, uid: u32) -> String {
    let named = |name| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    let account = named("USER").or_else(|| named("LOGNAME"));
    match (named("SUDO_USER"), account) {
        (Some(person), Some(account)) if person != account => format!("{person} as {account}"),
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_is_named_before_the_account() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
            user(&|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()), 7)
        };
        assert_eq!(of(&[("USER", "ann")]), "ann");
        assert_eq!(of(&[("LOGNAME", "ann"), ("USER", "")]), "ann");
        assert_eq!(of(&[("USER", "root"), ("SUDO_USER", "ann")]), "ann as root");
        assert_eq!(of(&[("SUDO_USER", "ann")]), "ann");
        assert_eq!(of(&[]), "uid 7");
        assert!(owner().contains(&format!("naru process {}", std::process::id())));
    }
}
