//! Distribution packages on Debian and its children.

use std::time::Duration;

use fs_err as fs;

use super::{Kind, change};
use crate::command::Program;
use crate::host::PROGRAM_PATH;
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError};

const INSTALL_DEADLINE: Duration = Duration::from_secs(15 * 60);
const UPDATE_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// apt itself waits so long for another apt or dpkg.
const LOCK_WAIT: &str = "DPkg::Lock::Timeout=180";
const INSTALLED: &str = "installed";
/// In apt's answer when the lists on the host are too old for its package sources.
const STALE_LISTS: &[&str] = &["Unable to locate package", "has no installation candidate", "404  Not Found"];

pub(crate) struct Packages<'a> {
    pub(crate) names: &'a [String],
}

impl Packages<'_> {
    fn missing(&self, host: &Host) -> Result<Vec<String>, ResourceError> {
        let query = Program::new(host, "dpkg-query")
            .arguments(["--show", "--showformat", "${binary:Package}\\t${db:Status-Status}\\n", "--"])
            .arguments(self.names);
        // An unknown name makes it end with an error status, but the others are listed all the same.
        let output = query.output()?;
        let installed = installed_names(&output.stdout);
        Ok(self.names.iter().filter(|name| !installed.iter().any(|known| known == *name)).cloned().collect())
    }

    fn install(host: &Host, names: &[String]) -> Result<(), ResourceError> {
        apt_get(host, INSTALL_DEADLINE)
            .arguments(["install", "--yes", "--no-install-recommends", "--"])
            .arguments(names)
            .run()
            .map(drop)
    }
}

impl Kind for Packages<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let missing = match self.missing(host) {
            Err(ResourceError::ProgramMissing { program }) => {
                return Err(ResourceError::refused(
                    format!("packages cannot be installed: this host has no `{program}`"),
                    "Debian and Ubuntu are supported",
                ));
            }
            other => other?,
        };
        Ok((!missing.is_empty()).then(|| change(format!("install {}", missing.join(" ")))))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let missing = self.missing(host)?;
        if !has_lists(host) {
            update(host)?;
            return Self::install(host, &missing);
        }
        match Self::install(host, &missing) {
            Err(ResourceError::CommandFailed { output, .. })
                if STALE_LISTS.iter().any(|sign| output.contains(sign)) =>
            {
                update(host)?;
                Self::install(host, &missing)
            }
            Err(ResourceError::CommandFailed { output, .. }) if output.contains("dpkg --configure -a") => {
                // An earlier installation was cut off half-way.
                Program::new(host, "dpkg")
                    .arguments(["--force-confdef", "--force-confold", "--configure", "-a"])
                    .environment("DEBIAN_FRONTEND", "noninteractive")
                    .deadline(INSTALL_DEADLINE)
                    .run()?;
                Self::install(host, &missing)
            }
            other => other,
        }
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        for name in self.names {
            manifest.put(name, "package", "");
        }
        Ok(())
    }
}

fn apt_get(host: &Host, deadline: Duration) -> Program<'_> {
    Program::new(host, "apt-get")
        .environment("DEBIAN_FRONTEND", "noninteractive")
        .environment("NEEDRESTART_SUSPEND", "1")
        .environment("PATH", PROGRAM_PATH)
        .arguments(["-o", LOCK_WAIT, "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"])
        .arguments(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"])
        .deadline(deadline)
}

fn update(host: &Host) -> Result<(), ResourceError> {
    apt_get(host, UPDATE_DEADLINE).arguments(["update", "--quiet"]).run().map(drop)
}

fn has_lists(host: &Host) -> bool {
    let Ok(entries) = fs::read_dir(host.path("/var/lib/apt/lists")) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// Names with status `installed`; a foreign architecture's suffix (`:arm64`) is not part of the name.
fn installed_names(listing: &str) -> Vec<String> {
    listing
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, status)| *status == INSTALLED)
        .map(|(name, _)| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::systemd::tests::script;

    #[test]
    fn removed_but_configured_is_not_installed() {
        let listing = "containerd\tinstalled\nlibc6:amd64\tinstalled\nrunc\tconfig-files\nnftables\tnot-installed\n";
        assert_eq!(installed_names(listing), ["containerd", "libc6"]);
    }

    #[test]
    fn only_missing_packages_are_installed_after_the_lists_are_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        script(folder.path(), "dpkg-query", "printf 'runc\\tinstalled\\n'; exit 1");
        script(
            folder.path(),
            "apt-get",
            &format!(
                "echo \"$*\" >> {log}; case \"$*\" in *install*) grep -q update {log} || \
             {{ echo 'E: Unable to locate package nftables' >&2; exit 100; }};; esac",
                log = log.display()
            ),
        );
        let host = Host::below(folder.path(), vec![folder.path().to_owned(), "/usr/bin".into(), "/bin".into()]);
        fs::create_dir_all(host.path("/var/lib/apt/lists")).unwrap();
        fs::File::create(host.path("/var/lib/apt/lists/mirror_dists_trixie_main_binary-amd64_Packages")).unwrap();
        let names = ["runc".to_owned(), "nftables".to_owned()];
        let packages = Packages { names: &names };
        assert_eq!(packages.check(&host, &Pending::default()).unwrap().unwrap().summary, "install nftables");
        packages.apply(&host).unwrap();
        let calls = fs::read_to_string(&log).unwrap();
        assert_eq!(calls.lines().count(), 3, "install, update, install: {calls}");
        assert!(calls.lines().all(|line| !line.contains("runc")), "{calls}");
        assert!(calls.contains("--no-install-recommends -- nftables"), "{calls}");
    }
}
