//! The reference page of the command line, written from the very tree that parses it.

use std::fmt::Write as _;

use clap::{Arg, Command};

const HEAD: &str = "\
# The command line

<!-- Written by `cargo xtask docs` from the verbs in src/naru/src/commands; changes here are overwritten. -->

`naru VERB --help` says on the terminal what this page says. What was asked for goes to standard output, everything else
to standard error. Colour is never the only carrier of meaning; `NO_COLOR` and `TERM=dumb` switch it off.

- `FILE` is the inventory ([all its fields](inventory.md)).
- Nothing is asked where there is no terminal, or with `--yes`. What cannot be taken back (`naru reset`) is refused
  then, unless `--yes` was given.
- Ctrl-C before anything was changed ends the program. During a run the first one lets running steps end and says what
  is left, the second ends at once; both are safe, and the same command goes on from there.
- What went wrong and what to do about it: [troubleshooting](../operations/troubleshooting.md).

## Exit codes

| code | meaning |
|---|---|
| 0 | done, or there was nothing to do |
| 1 | something that you gave is wrong, or the answer was no; nothing was changed |
| 2 | something that should have been done was not, or something is not as it should be |
| 3 | there is something to do (only with `--detailed-exitcode`) |
";

const ENVIRONMENT: &str = "\
## Environment

| variable | meaning |
|---|---|
| `XDG_STATE_HOME` | journals lie in `$XDG_STATE_HOME/naru/CLUSTER` (default: `~/.local/state`) |
| `XDG_CACHE_HOME` | remembered hashes of programs (default: `~/.cache`) |
| `SSH_AUTH_SOCK` | the SSH agent that is asked for keys |
| `NO_COLOR`, `TERM=dumb` | no colour |
| `NARU_LOG` | what is told from inside, as a filter (`naru_hosts=debug`); wins over `--verbose` |
| `NARU_MACHINES_STATE`, `NARU_MACHINES_CACHE` | where the local provider keeps machines and images |
";

/// The page `docs/reference/cli.md`.
pub(crate) fn page(mut tree: Command) -> String {
    tree.build();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Verbs\n\n| verb | does |\n|---|---|\n");
    for verb in verbs(&tree) {
        let name = verb.get_name();
        let _ = writeln!(page, "| [`naru {name}`](#naru-{name}) | {} |", about(verb));
    }
    page.push_str("\n## Flags of every verb\n\n");
    let flags: Vec<&Arg> = tree.get_arguments().filter(|arg| arg.is_global_set() || arg.get_id() == "help").collect();
    table(&mut page, &flags);
    for verb in verbs(&tree) {
        section(&mut page, verb, "naru");
    }
    let _ = write!(page, "\n{ENVIRONMENT}");
    page
}

fn verbs(tree: &Command) -> impl Iterator<Item = &Command> {
    tree.get_subcommands().filter(|verb| !verb.is_hide_set())
}

fn about(verb: &Command) -> String {
    cell(&verb.get_about().map(ToString::to_string).unwrap_or_default())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn section(page: &mut String, verb: &Command, parents: &str) {
    let name = format!("{parents} {}", verb.get_name());
    let _ = write!(page, "\n## {name}\n\n{}.\n", about(verb).trim_end_matches('.'));
    let inner: Vec<&Command> = verbs(verb).collect();
    if inner.is_empty() {
        let _ = write!(page, "\n`{}`\n", usage(verb, &name));
    }
    let shown = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
    let arguments: Vec<&Arg> = verb.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        page.push('\n');
        table(page, &arguments);
    }
    if let Some(after) = verb.get_after_help() {
        let _ = write!(page, "\n{after}\n");
    }
    for verb in inner {
        section(page, verb, &name);
    }
}

/// Positions with their names, flags as `[flags]`.
fn usage(verb: &Command, name: &str) -> String {
    let mut text = name.to_owned();
    if verb.get_arguments().any(|arg| !arg.is_positional() && !arg.is_global_set()) {
        text.push_str(" [flags]");
    }
    for position in verb.get_positionals() {
        let many = if position.get_num_args().is_some_and(|range| range.max_values() > 1) { "…" } else { "" };
        let name = value(position);
        let _ = match position.is_required_set() {
            true => write!(text, " {name}{many}"),
            false => write!(text, " [{name}{many}]"),
        };
    }
    text
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    match names {
        [] => arg.get_id().to_string().to_uppercase(),
        names => names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" "),
    }
}

fn table(page: &mut String, arguments: &[&Arg]) {
    page.push_str("| argument | default | meaning |\n|---|---|---|\n");
    for arg in arguments {
        let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let takes_value = arg.get_action().takes_values();
        let name = match arg.get_long() {
            Some(long) if takes_value => format!("{short}--{long} {}", value(arg)),
            Some(long) => format!("{short}--{long}"),
            None => value(arg),
        };
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default =
            if defaults.is_empty() || !takes_value { String::new() } else { format!("`{}`", defaults.join(" ")) };
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let possible = arg.get_possible_values();
        if takes_value && !possible.is_empty() {
            let words: Vec<String> = possible
                .iter()
                .filter(|value| !value.is_hide_set())
                .map(|value| match value.get_help() {
                    Some(help) => format!("`{}` ({help})", value.get_name()),
                    None => format!("`{}`", value.get_name()),
                })
                .collect();
            let _ = write!(meaning, ". One of: {}", words.join(", "));
        }
        let _ = writeln!(page, "| `{}` | {default} | {} |", cell(&name), cell(meaning.trim()));
    }
}
