//! Drives the local provider by hand: `machines up NAME [WORKERS] [plain] [bookworm]`, `list`, `stop|cut|on NAME HOST`,
//! `ssh NAME HOST COMMAND…`, `down NAME`, `images`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use naru_machines::local::{Config, Local};
use naru_machines::{ClusterSpec, Error, ImageSpec, Provider as _, Release, test_images};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                say(&format!("  because: {cause}"));
                source = cause.source();
            }
            ExitCode::from(2)
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode, Error> {
    let local = Local::new(Config::from_environment());
    let start = Instant::now();
    match words {
        ["up", name, rest @ ..] => {
            let release = if rest.contains(&"bookworm") { Release::Bookworm } else { Release::Trixie };
            let image = ImageSpec { prepared: !rest.contains(&"plain"), ..ImageSpec::plain(release) };
            let workers = rest.iter().find_map(|word| word.parse().ok()).unwrap_or(2);
            let spec = ClusterSpec::simple(name, 1, workers, &image);
            for machine in local.ensure(&spec, &|progress| say(&format!("{progress:?}")))? {
                say(&format!("{} {} {}", machine.host, machine.address, machine.host_key.unwrap_or_default()));
            }
        }
        ["list"] => {
            for cluster in local.clusters()? {
                for machine in local.list(&cluster)? {
                    say(&format!("{} {} {:?}", machine.name, machine.address, machine.power));
                }
            }
        }
        ["stop", name, host] => local.stop(name, host)?,
        ["cut", name, host] => local.power_cut(name, host)?,
        ["on", name, host] => local.power_on(name, host)?,
        ["down", name] => local.delete(name)?,
        ["ssh", name, host, command @ ..] => {
            let unknown = || Error::Unknown { name: format!("{name}-{host}") };
            let machine = local.list(name)?.into_iter().find(|machine| machine.host == *host).ok_or_else(unknown)?;
            let status = local.ssh(&machine).arg("--").args(command).status()?;
            return Ok(ExitCode::from(status.code().unwrap_or(255) as u8));
        }
        ["images"] => {
            for image in test_images::ensure_all(&local.config().cache)? {
                say(&format!("{} {}", image.name, image.archive.display()));
            }
        }
        _ => {
            say(
                "machines up NAME [WORKERS] [plain] [bookworm] | list | stop|cut|on NAME HOST | ssh NAME HOST COMMAND | down NAME | images",
            );
            return Ok(ExitCode::from(1));
        }
    }
    say(&format!("{:.1} s", start.elapsed().as_secs_f32()));
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) {
    // Nobody reading is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}
