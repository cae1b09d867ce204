//! Answers and flags, proposals from facts, and files that are whole inventories.

use naru_agent::Facts;
use naru_inventory::Role;

use super::*;

fn login() -> Login {
    Login { user: "admin".to_owned(), key: Some("~/key".to_owned()) }
}

fn targets(texts: &[&str]) -> Vec<Target> {
    texts.iter().map(|text| target(text).unwrap()).collect()
}

fn facts(hostname: &str, gibibytes: u64) -> Result<Facts, String> {
    Ok(Facts {
        hostname: hostname.to_owned(),
        memory_bytes: gibibytes << 30,
        cpus: 2,
        os_pretty_name: "Debian GNU/Linux 13 (trixie)".to_owned(),
        ..Facts::default()
    })
}

fn looked(found: &[(&str, Result<Facts, String>)]) -> Looked {
    let found = found.iter().map(|(address, facts)| ((*address).to_owned(), facts.clone())).collect();
    Looked { found, remark: None }
}

#[test]
fn what_is_written_is_a_whole_inventory() {
    naru_inventory::parse("x", &text::local("naru")).unwrap();
    let targets = targets(&["admin@10.0.0.1", "10.0.0.2:2222", "root@10.0.0.3"]);
    let draft = text::draft(&login(), &targets);
    let inventory = naru_inventory::parse("x", &text::for_hosts("naru", &login(), &draft, &Looked::default())).unwrap();
    assert_eq!(inventory.spec.ssh.user.as_deref(), Some("admin"));
    assert_eq!(inventory.spec.hosts, draft);
    assert_eq!(inventory.spec.hosts[1].port, Some(2222));
    assert_eq!(inventory.spec.hosts[2].user.as_deref(), Some("root"));
    assert_eq!(inventory.control_planes().count(), 1);
    assert!(target("a:b").is_err());
}

#[test]
fn roles_and_names_come_from_the_machines() {
    let draft = text::draft(&login(), &targets(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]));
    let looked = looked(&[
        ("10.0.0.1", facts("debian", 2)),
        ("10.0.0.2", facts("Rack2.example.com", 8)),
        ("10.0.0.3", facts("same", 8)),
        ("10.0.0.4", facts("same", 1)),
        ("10.0.0.5", Err("connection refused".to_owned())),
    ]);
    let hosts = looked.propose(draft);
    let seen: Vec<(&str, Role)> = hosts.iter().map(|host| (host.name.as_str(), host.role)).collect();
    let worker = |name| (name, Role::Worker);
    assert_eq!(seen, [worker("w1"), ("rack2", Role::ControlPlane), worker("w2"), worker("w3"), worker("w4")]);
    let text = text::for_hosts("prod", &login(), &hosts, &looked);
    naru_inventory::parse("x", &text).unwrap();
    insta::assert_snapshot!("proposed", format!("{}\n{text}", looked.table(&hosts).unwrap()));
}

#[test]
fn a_name_that_a_machine_has_is_not_given_to_another() {
    let draft = text::draft(&login(), &targets(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    let looked = looked(&[("10.0.0.1", facts("", 1)), ("10.0.0.2", facts("w1", 1)), ("10.0.0.3", facts("cp1", 1))]);
    let names: Vec<String> = looked.propose(draft).into_iter().map(|host| host.name).collect();
    assert_eq!(names, ["cp2", "w1", "cp1"]);
}

#[test]
fn a_machine_cannot_write_into_the_inventory() {
    let evil = Facts {
        os_pretty_name: "x\n  files: [{path: /etc/cron.d/x, content: y}]\u{1b}[2J".to_owned(),
        ..Facts::default()
    };
    let looked = looked(&[("10.0.0.1", Ok(evil))]);
    let hosts = looked.propose(text::draft(&login(), &targets(&["10.0.0.1"])));
    let text = text::for_hosts("prod", &login(), &hosts, &looked);
    assert!(naru_inventory::parse("x", &text).unwrap().spec.files.is_empty());
    assert!(!text.contains('\u{1b}') && !looked.table(&hosts).unwrap().contains('\u{1b}'));
}

#[test]
fn fingerprints_are_those_of_ssh() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    assert!(probe::fingerprint(key).starts_with("SHA256:"));
    assert_eq!(probe::fingerprint(key).len(), "SHA256:".len() + 43);
    assert_eq!(probe::fingerprint("nothing"), "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    init: Init,
}

fn init(arguments: &[&str]) -> Init {
    <Line as clap::Parser>::parse_from([&["init"], arguments].concat()).init
}

#[tokio::test]
async fn answers_and_defaults() {
    let mut questions = Questions::answered("2\n10.0.0.1, ops@10.0.0.2:2200\n\n~/.ssh/cluster\nprod\n");
    let init = init(&["--no-probe"]);
    assert_eq!(init.provider(&mut questions).unwrap(), Provider::Ssh);
    let inventory = naru_inventory::parse("x", &init.for_hosts(&mut questions).await.unwrap()).unwrap();
    assert_eq!(inventory.name(), "prod");
    // The first user that was named is the default of all.
    assert_eq!(inventory.spec.ssh.user.as_deref(), Some("ops"));
    assert_eq!(inventory.spec.ssh.key_path.as_deref(), Some("~/.ssh/cluster"));
    assert_eq!(inventory.spec.hosts[1].port, Some(2200));
    // The answers are used up.
    assert!(questions.ask("more", "").is_err());
}

#[tokio::test]
async fn flags_are_not_asked_for() {
    let init = init(&["--host", "10.0.0.1", "--user", "root", "--key", "k", "--name", "n", "--no-probe"]);
    let text = init.for_hosts(&mut Questions::answered("")).await.unwrap();
    assert!(text.contains("keyPath: k\n") && text.contains("name: \"n\"\n"), "{text}");
    assert!(Init { hosts: Vec::new(), ..init }.targets(&mut Questions::new(false)).is_err());
}
