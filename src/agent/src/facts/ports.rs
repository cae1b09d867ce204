//! TCP and UDP ports in use, and by whom: the kernel's tables of sockets, and the open files of processes until every
//! socket has found its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fs_err as fs;
use naru_resources::Host;

use crate::ListeningPort;

/// Table, protocol, and the state that a socket has while it waits for others: LISTEN, or unconnected.
const TABLES: [(&str, &str, &str); 4] = [
    ("/proc/net/tcp", "tcp", "0A"),
    ("/proc/net/tcp6", "tcp", "0A"),
    ("/proc/net/udp", "udp", "07"),
    ("/proc/net/udp6", "udp", "07"),
];
const MAX_PORTS: usize = 512;
/// Looking for owners ends then; the ports are told all the same.
const OWNERS_DEADLINE: Duration = Duration::from_millis(25);
const MAX_FILES_OF_PROCESS: usize = 4_096;

struct Socket {
    protocol: &'static str,
    port: u16,
    inode: String,
}

pub(super) fn listening(host: &Host) -> Vec<ListeningPort> {
    let mut sockets = Vec::new();
    for (path, protocol, state) in TABLES {
        let table = fs::read_to_string(host.path(path)).unwrap_or_default();
        sockets.extend(table.lines().skip(1).filter_map(|line| socket(line, protocol, state)));
    }
    sockets.truncate(MAX_PORTS);
    let owners = owners(host, sockets.iter().map(|socket| socket.inode.clone()).collect());
    let found: BTreeSet<(&str, u16, String)> = sockets
        .iter()
        .map(|socket| (socket.protocol, socket.port, owners.get(&socket.inode).cloned().unwrap_or_default()))
        .collect();
    found
        .into_iter()
        .map(|(protocol, port, program)| ListeningPort { protocol: protocol.to_owned(), port, program })
        .collect()
}

/// `0: 0100007F:1F90 00000000:0000 0A … uid timeout inode …`
fn socket(line: &str, protocol: &'static str, wanted_state: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    if state != wanted_state || !remote.ends_with(":0000") {
        return None;
    }
    let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    Some(Socket { protocol, port, inode: fields.nth(5)?.to_owned() })
}

/// Names of the programs that hold these sockets.
fn owners(host: &Host, mut wanted: BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let started = Instant::now();
    let Ok(processes) = fs::read_dir(host.path("/proc")) else { return found };
    for process in processes.filter_map(Result::ok) {
        if wanted.is_empty() || started.elapsed() > OWNERS_DEADLINE {
            break;
        }
        if !process.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // Processes that ended, and those of others, are passed over.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.filter_map(Result::ok).take(MAX_FILES_OF_PROCESS) {
            let Ok(target) = fs::read_link(file.path()) else { continue };
            let target = target.to_string_lossy();
            let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else { continue };
            if wanted.remove(inode) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                found.insert(inode.to_owned(), name.trim().to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_wait_for_others_count() {
        let listening = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 1";
        let found = socket(listening, "tcp", "0A").unwrap();
        assert_eq!((found.port, found.inode.as_str()), (8080, "4711"));
        let connected = "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  0  0 4712 1 0 1";
        assert!(socket(connected, "tcp", "0A").is_none());
    }

    #[test]
    fn our_own_port_is_found_with_our_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let found = listening(&Host::local());
        let ours = found.iter().find(|found| found.port == port && found.protocol == "tcp").unwrap();
        assert!(ours.program.is_empty() || ours.program == name.trim(), "{ours:?}");
    }
}
