//! Edits of texts in many styles: what is read changes exactly as asked, and every comment line survives.

use proptest::prelude::*;

use super::*;
use crate::spec::Role;

const BLOCK: &str = "\
# The cluster in the cellar.
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: prod}   # never renamed
spec:   # what is wanted
  # ssh first
  ssh:
    user: admin
  hosts:
    # the control plane
    - name: cp1
      role: control-plane   # only one
      address: 10.0.0.11
    # first rack
    -   name: w1
        role: worker
        # slow disk
        address: 10.0.0.21
        annotations:
          note: |
            # not a comment
            text
    - name: w2
      role: worker
      address: 10.0.0.22   # second rack
    # also: labels
  # the end
";

const MIXED: &str = "\
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: prod}
spec:
  version: \"v0.1.0\"  # pinned
  hosts:
  - {name: cp1, role: control-plane, address: 10.0.0.11}
  - {name: w1, role: worker, address: 10.0.0.21,
     labels: {disk: ssd}}  # two lines
  - {name: w2, role: worker, address: 10.0.0.22, state: absent}";

const FLOW: &str = "\
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: prod}
spec: {version: v0.1.0, hosts: [
    {name: cp1, role: control-plane, address: 10.0.0.11},  # first
    {name: w1, role: worker, address: 10.0.0.21},
    # second rack
    {name: w2, role: worker, address: 10.0.0.22}  # last
  ]}
";

const LINE: &str = "{apiVersion: naru.dev/v1alpha1, kind: Cluster, metadata: {name: prod}, spec: {hosts: [{name: cp1, \
                    role: control-plane, address: 10.0.0.11}, {name: w1, role: worker, address: 10.0.0.21}, {name: \
                    w2, role: worker, address: 10.0.0.22}]}}";

const DOCUMENTS: &str = "\
# A namespace first.
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: prod}
spec:
  hosts:
    - {name: cp1, role: control-plane, address: 10.0.0.11}
    - {name: w1, role: worker, address: 10.0.0.21}
    - {name: w2, role: worker, address: 10.0.0.22}
---
# Last.
apiVersion: v1
kind: List
items: [{apiVersion: v1, kind: Namespace, metadata: {name: other}}]
";

const TEXTS: [&str; 5] = [BLOCK, MIXED, FLOW, LINE, DOCUMENTS];

fn new_host(name: &str) -> Host {
    Host {
        labels: [("disk".to_owned(), "true".to_owned()), ("zone".to_owned(), "a.b-c".to_owned())].into(),
        host_key: Some("ssh-ed25519 AAAAC3NzaC1".to_owned()),
        key_path: Some("~/.ssh/id_ed25519".to_owned()),
        port: Some(2222),
        ..Host::new(name, Role::Worker, "10.0.0.99")
    }
}

/// Another machine for what a host is for.
fn machine(text: &str, old: &str, name: &str, address: &str) -> Host {
    Host {
        name: name.to_owned(),
        address: address.to_owned(),
        user: Some("ann".to_owned()),
        port: Some(2222),
        host_key: Some("ssh-ed25519 AAAAC3NzaC1".to_owned()),
        ..read(text).unwrap().host(old).unwrap().clone()
    }
}

fn comment_lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.starts_with('#') && *line != "# not a comment").collect()
}

/// Whether all comment lines are still there, in their order; one that stood behind a host may have a line now.
fn survive(old: &str, new: &str) -> bool {
    let mut left = comment_lines(new).into_iter();
    comment_lines(old).iter().all(|comment| left.any(|other| other == *comment))
}

#[test]
fn each_edit_on_each_style() {
    let mut all = String::new();
    for text in TEXTS {
        let edits: [(&str, Result<String, EditError>); 8] = [
            ("set_version", set_version(text, "v0.2.0")),
            ("add_host", add_host(text, &new_host("w3"))),
            ("remove_host w1", remove_host(text, "w1")),
            ("remove_host w2", remove_host(text, "w2")),
            ("absent w1", set_host_state(text, "w1", HostState::Absent)),
            ("exchange w1", exchange_host(text, "w1", &machine(text, "w1", "w9", "10.0.0.91"))),
            (
                "exchange w2, and back",
                exchange_host(text, "w2", &machine(text, "w2", "w2", "10.0.0.92"))
                    .and_then(|edited| exchange_host(&edited, "w2", read(text).unwrap().host("w2").unwrap())),
            ),
            (
                "absent w2, present again",
                set_host_state(text, "w2", HostState::Absent)
                    .and_then(|text| set_host_state(&text, "w2", HostState::Present)),
            ),
        ];
        for (title, edited) in edits {
            let edited = edited.unwrap_or_else(|error| panic!("{title}: {error}\n{text}"));
            assert!(survive(text, &edited), "{title}:\n{edited}");
            let diff = diff(text, &edited);
            all.push_str(&format!("=== {title}\n{diff}"));
        }
    }
    insta::assert_snapshot!(all);
}

/// Lines that went and came.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let same_before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - same_before;
    let same_after = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
    let gone = old[same_before..old.len() - same_after].iter().map(|line| format!("-{line}\n"));
    let come = new[same_before..new.len() - same_after].iter().map(|line| format!("+{line}\n"));
    gone.chain(come).collect()
}

#[test]
fn line_ends_of_windows_stay() {
    for text in TEXTS {
        let text = text.replace('\n', "\r\n");
        for edited in [
            set_version(&text, "v0.2.0"),
            add_host(&text, &new_host("w3")),
            remove_host(&text, "w1"),
            exchange_host(&text, "w1", &machine(&text, "w1", "w9", "10.0.0.91")),
            set_host_state(&text, "w1", HostState::Absent),
        ] {
            let edited = edited.unwrap();
            assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count(), "{edited}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    assert!(matches!(add_host(BLOCK, &new_host("w1")), Err(EditError::Taken { .. })));
    assert!(matches!(remove_host(BLOCK, "w9"), Err(EditError::NoHost { .. })));
    assert!(matches!(set_host_state(BLOCK, "w9", HostState::Absent), Err(EditError::NoHost { .. })));
    let exchanged = |old, name, address| exchange_host(BLOCK, old, &Host::new(name, Role::Worker, address));
    assert!(matches!(exchanged("w9", "w9", "10.0.0.9"), Err(EditError::NoHost { .. })));
    assert!(matches!(exchanged("w1", "w2", "10.0.0.9"), Err(EditError::Taken { .. })));
    assert!(matches!(exchanged("w2", "w2", "10.0.0.21"), Err(EditError::After(_))), "w1's address");
    // What the host is for is not a machine's to change.
    let other_role = Host { role: Role::ControlPlane, ..machine(BLOCK, "w2", "w2", "10.0.0.9") };
    assert!(matches!(exchange_host(BLOCK, "w2", &other_role), Err(EditError::After(_) | EditError::Shape { .. })));
    let error = remove_host(BLOCK, "cp1").unwrap_err().to_string();
    assert!(error.contains("no control plane"), "{error}");
    assert!(matches!(set_version(BLOCK, "latest"), Err(EditError::After(_))));
    assert!(matches!(set_version("spec: [", "v1.0.0"), Err(EditError::Before(_))));
    let machines = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n  machines:\n    \
                    provider: local\n    groups: [{name: cp, role: control-plane, count: 1}]\n";
    assert!(matches!(add_host(machines, &new_host("w1")), Err(EditError::Machines)));
    assert!(set_version(machines, "v1.0.0").unwrap().contains("spec:\n  version: v1.0.0\n  machines:"));
    let anchors =
        MIXED.replace("- {name: cp1", "- &cp {name: cp1").replace("{name: w1, role", "{<<: *cp, name: w1, role");
    assert!(matches!(remove_host(&anchors, "cp1"), Err(EditError::After(_) | EditError::Shape { .. })));
}

#[test]
fn a_machine_is_exchanged_whatever_its_fields_stand_among() {
    let text = "\
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: a}
spec:
  hosts:
    - {name: cp1, role: control-plane, address: 10.0.0.11}
    - hostKey: \"ssh-ed25519 AAAAC3NzaC1\"
      port: 2222 # behind a wall
      name: w1
      role: worker
      # of the cellar
      address: \"10.0.0.21\" # first rack
      labels: {disk: ssd}
      user: ann
    - {hostKey: SHA256:abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq, # seen on the console
       port: 22, name: w2, address: 10.0.0.22, role: worker, connection: local}
";
    let bare = |old: &str, address: &str| Host {
        user: None,
        port: None,
        host_key: None,
        connection: crate::Connection::Ssh,
        ..machine(text, old, old, address)
    };
    let edited = exchange_host(text, "w1", &bare("w1", "10.0.0.98")).unwrap();
    let edited = exchange_host(&edited, "w2", &bare("w2", "10.0.0.99")).unwrap();
    insta::assert_snapshot!(diff(text, &edited));
}

/// An inventory of these hosts, each written in its own style, with comments all around.
fn text_of(count: usize, styles: &[u8], indent: usize, is_windows: bool, ends: bool) -> String {
    let pad = " ".repeat(indent);
    let mut text =
        "# top\napiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: prod # x\nspec:\n".to_owned();
    text += "  # before hosts\n  hosts: # here\n";
    for index in 0..count {
        let (name, address) = (format!("h{index}"), format!("10.1.0.{}", index + 1));
        let role = if index == 0 { "control-plane" } else { "worker" };
        text += &match styles[index % styles.len()] % 4 {
            0 => format!("{pad}- {{name: {name}, role: {role}, address: {address}}}\n"),
            1 => format!(
                "{pad}# block {index}\n{pad}- name: {name}\n{pad}  # inner {index}\n{pad}  role: {role} # r\n{pad}  address: \"{address}\"\n"
            ),
            2 => format!("{pad}-   address: {address}\n\n{pad}    role: {role}\n{pad}    name: '{name}'  # name\n"),
            _ => format!(
                "{pad}-\n{pad}  # below its dash\n{pad}  role: {role}\n{pad}  labels:\n{pad}    a: b\n{pad}  address: {address}\n{pad}  name: {name}\n"
            ),
        };
    }
    text += "  # the end\n  network: {domain: a.b}";
    if ends {
        text += "\n# after all\n";
    }
    if is_windows { text.replace('\n', "\r\n") } else { text }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edits_change_what_was_asked_and_keep_comments(
        count in 2_usize..6,
        styles in proptest::collection::vec(any::<u8>(), 1..6),
        indent in 2_usize..7,
        is_windows in any::<bool>(),
        ends in any::<bool>(),
        edits in proptest::collection::vec((0_u8..5, 1_usize..8), 1..6),
    ) {
        let mut text = text_of(count, &styles, indent, is_windows, ends);
        let mut expected = read(&text).unwrap();
        let comments = comment_lines(&text).join("\n");
        for (number, (edit, index)) in edits.into_iter().enumerate() {
            let name = expected.spec.hosts[index % expected.spec.hosts.len()].name.clone();
            let edited = match edit {
                0 => {
                    let version = format!("v1.0.{number}");
                    expected.spec.version.clone_from(&version);
                    set_version(&text, &version)
                }
                1 => {
                    let host = Host { address: format!("10.2.0.{number}"), ..new_host(&format!("n{number}")) };
                    expected.spec.hosts.push(host.clone());
                    add_host(&text, &host)
                }
                // The control plane must stay.
                _ if name == "h0" => continue,
                2 => {
                    expected.spec.hosts.retain(|host| host.name != name);
                    remove_host(&text, &name)
                }
                3 => {
                    let new = machine(&text, &name, &format!("x{number}"), &format!("10.3.0.{number}"));
                    *expected.spec.hosts.iter_mut().find(|host| host.name == name).unwrap() = new.clone();
                    exchange_host(&text, &name, &new)
                }
                _ => {
                    let host = expected.spec.hosts.iter_mut().find(|host| host.name == name).unwrap();
                    host.state = if host.state.is_present() { HostState::Absent } else { HostState::Present };
                    let state = host.state;
                    set_host_state(&text, &name, state)
                }
            };
            text = edited.unwrap_or_else(|error| panic!("{error}\n{text}"));
            prop_assert_eq!(&read(&text).unwrap(), &expected);
            prop_assert_eq!(comment_lines(&text).join("\n"), comments.clone());
        }
    }
}
