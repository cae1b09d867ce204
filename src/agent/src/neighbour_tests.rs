//! Two hosts below temporary folders give each other artifacts over loopback.

use super::*;
use fs_err as fs;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

const LONG: Duration = Duration::from_secs(30);

fn host(folder: &tempfile::TempDir, name: &str) -> Host {
    Host::below(folder.path().join(name), Vec::new())
}

fn put(host: &Host, bytes: &[u8]) -> String {
    let sha256 = hex::encode(Sha256::digest(bytes));
    let mut artifact = ArtifactWriter::resume(host, &sha256, bytes.len() as u64, 0).unwrap();
    artifact.write(bytes).unwrap();
    artifact.finish().unwrap();
    sha256
}

async fn serving(neighbour: &Neighbour, host: &Host, sha256: &str) -> String {
    let Response::Serving { port, path } = neighbour.offer(host, vec![sha256.to_owned()]).unwrap() else { panic!() };
    format!("http://127.0.0.1:{port}{path}{sha256}")
}

async fn get(host: &Host, sha256: &str, size: usize, urls: &[String], deadline: Duration) -> Result<Response, Failure> {
    fetch(host, sha256, size as u64, urls, deadline, || Ok(())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_travels_goes_on_after_a_cut_and_nothing_else_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (giver, taker) = (host(&folder, "giver"), host(&folder, "taker"));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sha256 = put(&giver, &bytes);
    let secret = put(&giver, b"not offered");
    let neighbour = Neighbour::start(&giver).await.unwrap();
    let url = serving(&neighbour, &giver, &sha256).await;
    let base = url.strip_suffix(&sha256).unwrap();
    let mut begun = ArtifactWriter::resume(&taker, &sha256, bytes.len() as u64, 0).unwrap();
    begun.write(&bytes[..1_000_000]).unwrap();
    drop(begun);
    let dead = "http://127.0.0.1:1/x".to_owned();
    assert_eq!(get(&taker, &sha256, bytes.len(), &[dead, url.clone()], LONG).await.unwrap(), Response::Done);
    assert_eq!(fs::read(taker.artifact(&sha256)).unwrap(), bytes);
    for wrong in [format!("{base}{secret}"), url.replace(base, "http://127.0.0.1:1/"), format!("{base}../fence")] {
        let failure = get(&taker, &secret, 11, &[wrong], LONG).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Transient);
    }
    assert!(neighbour.offer(&giver, vec!["0".repeat(64)]).is_err(), "it cannot give what it has not");
    drop(neighbour);
    let other = host(&folder, "other");
    let started = Instant::now();
    while get(&other, &sha256, bytes.len(), std::slice::from_ref(&url), LONG).await.is_ok() {
        fs::remove_file(other.artifact(&sha256)).unwrap();
        assert!(started.elapsed() < LONG, "it serves beyond its end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_with_another_file_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let (liar, honest, taker) = (host(&folder, "liar"), host(&folder, "honest"), host(&folder, "taker"));
    let sha256 = put(&honest, b"the true bytes");
    fs::create_dir_all(liar.path("/var/lib/naru/artifacts")).unwrap();
    fs::write(liar.artifact(&sha256), b"the evil bytes").unwrap();
    let (one, other) = (Neighbour::start(&liar).await.unwrap(), Neighbour::start(&honest).await.unwrap());
    let urls = [serving(&one, &liar, &sha256).await, serving(&other, &honest, &sha256).await];
    let failure = get(&taker, &sha256, 14, &urls[..1], LONG).await.unwrap_err();
    assert!(failure.detail.unwrap().contains("damaged"));
    assert!(!taker.artifact(&sha256).exists());
    assert_eq!(get(&taker, &sha256, 14, &urls, LONG).await.unwrap(), Response::Done);
    let short = get(&host(&folder, "third"), &sha256, 15, &urls, LONG).await.unwrap_err();
    assert!(short.detail.unwrap().contains("bytes instead of 15"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_wait_for_their_turn_and_the_rest_of_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let giver = host(&folder, "giver");
    let bytes = vec![7_u8; 30_000_000];
    let sha256 = put(&giver, &bytes);
    let neighbour = Neighbour::start(&giver).await.unwrap();
    let url = serving(&neighbour, &giver, &sha256).await;
    // These take their first bytes and no more.
    let mut slow = Vec::new();
    for _ in 0..MAX_TRANSFERS {
        let address = url.trim_start_matches("http://").split('/').next().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let path = url.splitn(4, '/').nth(3).unwrap();
        stream.write_all(format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut first = [0_u8; 15];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        slow.push(stream);
    }
    let taker = host(&folder, "taker");
    let urls = [url];
    let failure = get(&taker, &sha256, bytes.len(), &urls, Duration::from_millis(700)).await.unwrap_err();
    assert!(failure.detail.unwrap().contains("busy"));
    let waiting = get(&taker, &sha256, bytes.len(), &urls, LONG);
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        slow.pop();
    };
    let (answer, ()) = tokio::join!(waiting, leaving);
    assert_eq!(answer.unwrap(), Response::Done);
}
