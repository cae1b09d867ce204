//! Switching machines on and off, orderly and not.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::disk::Disk;
use super::manager::{Launch, Manager};
use super::record::{ClusterRecord, MachineRecord};
use super::{BOOT_DEADLINE, Local, cgroups, config, image, network};
use crate::lock::Lock;
use crate::{Error, Power, Progress, Result};

/// How long an orderly stop may take before the machine is switched off; units get 90 s by default.
const STOP_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// A machine that is silent is asked again after this long.
const CONNECT_WAIT: Duration = Duration::from_millis(500);
/// How long a fresh launcher may take until its first process shows, before it counts as failed.
const LAUNCH_WAIT: Duration = Duration::from_secs(10);
/// Lines of the console in an error.
const CONSOLE_LINES: usize = 8;

impl Local {
    /// Stops a machine in order: its systemd shuts it down. One that does not end in time is switched off.
    pub fn stop(&self, cluster: &str, host: &str) -> Result<()> {
        let _lock = self.lock(cluster)?;
        let (record, machine) = self.find(cluster, host)?;
        let name = record.machine_name(&machine);
        let groups = Manager::of_this_computer().groups(&name)?;
        for process in cgroups::named(&cgroups::processes(&groups), "systemd-nspawn") {
            // nspawn turns this into the signal that tells its PID 1 to power off.
            cgroups::signal(process, Signal::TERM);
        }
        let start = Instant::now();
        while !cgroups::processes(&groups).is_empty() {
            if start.elapsed() > STOP_DEADLINE {
                tracing::warn!(machine = name, "no orderly stop in time; switching it off");
                break;
            }
            std::thread::sleep(POLL);
        }
        self.switch_off(&record, &machine)
    }

    /// Takes the power away: silent on the network at once, all processes killed, nothing written any more.
    pub fn power_cut(&self, cluster: &str, host: &str) -> Result<()> {
        let _lock = self.lock(cluster)?;
        let (record, machine) = self.find(cluster, host)?;
        self.switch_off(&record, &machine)
    }

    /// Switches a machine on and waits until it answers on SSH. One that runs already is left alone.
    pub fn power_on(&self, cluster: &str, host: &str) -> Result<()> {
        let _lock = self.lock(cluster)?;
        let (record, machine) = self.find(cluster, host)?;
        {
            let _computer = Lock::take(config::computer_lock())?;
            network::ensure_bridge(&record)?;
        }
        self.power_on_all(&record, &[&machine], &|_| {})
    }

    /// Waits until sshd of a machine answers.
    pub fn wait_for_ssh(&self, cluster: &str, host: &str, deadline: Duration) -> Result<()> {
        let (record, machine) = self.find(cluster, host)?;
        self.wait(&record, &machine, deadline)
    }

    /// Starts the machines that are off and waits for all, at the same time.
    pub(super) fn power_on_all(
        &self,
        record: &ClusterRecord,
        machines: &[&MachineRecord],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let on = |machine: &&&MachineRecord| {
            let start = Instant::now();
            let name = record.machine_name(machine);
            if self.power(record, machine)? != Power::On {
                progress(Progress::Starting { machine: name.clone() });
                self.start(record, machine)?;
            }
            self.wait(record, machine, BOOT_DEADLINE)?;
            progress(Progress::Ready { machine: name, elapsed_ms: start.elapsed().as_millis() as u64 });
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = machines.iter().map(|machine| scope.spawn(move || on(&machine))).collect();
            let results: Vec<Result<()>> =
                threads.into_iter().map(|thread| thread.join().expect("starting a machine does not panic")).collect();
            results.into_iter().collect()
        })
    }

    fn find(&self, cluster: &str, host: &str) -> Result<(ClusterRecord, MachineRecord)> {
        let record = self.record(cluster)?;
        let unknown = || Error::Unknown { name: format!("{cluster}-{host}") };
        let machine = record.machine(host).filter(|machine| machine.prepared).cloned().ok_or_else(unknown)?;
        Ok((record, machine))
    }

    fn start(&self, record: &ClusterRecord, machine: &MachineRecord) -> Result<()> {
        let name = record.machine_name(machine);
        let disk = Disk::new(self.config(), &record.name, &machine.host);
        let manager = Manager::of_this_computer();
        // What the last run of this machine may have left, this computer's own power cut included.
        manager.release(&name)?;
        {
            let _computer = Lock::take(config::computer_lock())?;
            network::plug_in(record, machine)?;
        }
        disk.refresh()?;
        let mut arguments = nspawn_arguments(&name, &disk.root(), &machine.host);
        arguments.extend(disk.binds());
        let lower = image::image_root(&self.config().cache, &machine.image_key);
        let (root, console) = (disk.root(), disk.console());
        let overlay = disk.overlay(&lower)?;
        let network = network::namespace_path(&name);
        manager.launch(&Launch { name: &name, overlay, root: &root, console: &console, network, arguments })
    }

    fn switch_off(&self, record: &ClusterRecord, machine: &MachineRecord) -> Result<()> {
        let name = record.machine_name(machine);
        let manager = Manager::of_this_computer();
        {
            let _computer = Lock::take(config::computer_lock())?;
            network::unplug(record, machine)?;
        }
        cgroups::kill_all(&manager.groups(&name)?, &name)?;
        manager.release(&name)?;
        // nspawn cleans this up itself only where /run is a tmpfs.
        let _ = fs_err::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&name));
        Ok(())
    }

    /// Switches a machine off and removes its disk.
    pub(super) fn remove_machine(&self, record: &ClusterRecord, machine: &MachineRecord) -> Result<()> {
        self.switch_off(record, machine)?;
        Disk::new(self.config(), &record.name, &machine.host).remove()
    }

    fn wait(&self, record: &ClusterRecord, machine: &MachineRecord, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        let address = record.address(machine.octet);
        let mut seen = false;
        while start.elapsed() < deadline {
            if answers_ssh(address) {
                return Ok(());
            }
            let on = self.power(record, machine)? == Power::On;
            if !on && (seen || start.elapsed() > LAUNCH_WAIT) {
                break;
            }
            seen |= on;
            std::thread::sleep(POLL);
        }
        let name = record.machine_name(machine);
        let console = self.console_log(&record.name, &machine.host);
        let what = format!("waiting for sshd of machine {name} ({address})");
        Err(Error::Deadline { what, seconds: start.elapsed().as_secs(), hint: console_end(&console) })
    }
}

fn nspawn_arguments(name: &str, root: &Path, host: &str) -> Vec<String> {
    let namespace = network::namespace_path(name);
    vec![
        "--quiet".to_owned(),
        "--boot".to_owned(),
        format!("--machine={name}"),
        format!("--hostname={host}"),
        format!("--directory={}", root.display()),
        format!("--network-namespace-path={}", namespace.display()),
        "--capability=all".to_owned(),
        "--system-call-filter=@mount @keyring bpf add_key keyctl perf_event_open".to_owned(),
        "--resolv-conf=off".to_owned(),
        "--timezone=off".to_owned(),
        "--link-journal=no".to_owned(),
        "--console=pipe".to_owned(),
    ]
}

/// Whether something that speaks SSH listens. Logging in is another matter, but sshd starts after its keys are there.
fn answers_ssh(address: Ipv4Addr) -> bool {
    let address = SocketAddr::from((address, 22));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT_WAIT) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(CONNECT_WAIT)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting == *b"SSH-"
}

fn console_end(console: &Path) -> String {
    let text = fs_err::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n  ");
    format!("\n  the end of {}:\n  {end}", console.display())
}
