//! The registry through the whole handler chain, in-process, with everything allowed.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use naru_apiserver::chain::{Admission, AdmissionRequest, Authenticator, Authorizer, Computed, RequestInfo, UserInfo};
use naru_apiserver::{ApiError, ApiServer, Body, Catalog, Config, Objects};
use naru_store::{EmbeddedStore, Options};
use serde_json::{Value, json};

/// Longer than any machine under load takes.
const DEADLINE: Duration = Duration::from_secs(60);

struct Open;

impl Authenticator for Open {
    fn authenticate(&self, _: &http::HeaderMap, _: Option<&[u8]>) -> Result<Option<UserInfo>, ApiError> {
        Ok(None)
    }
}

impl Authorizer for Open {
    fn authorize(&self, _: &UserInfo, _: &RequestInfo) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Admission for Open {
    fn admit(&self, _: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn settled(&self, _: &naru_api::Resource, _: &Value, _: bool) {}
}

impl Computed for Open {
    fn create(&self, _: &UserInfo, _: &RequestInfo, object: Value) -> Result<Value, ApiError> {
        Ok(object)
    }
}

struct Api {
    server: ApiServer,
    _directory: tempfile::TempDir,
}

impl Api {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new(directory.path());
        change(&mut options);
        let catalog = Catalog::new(naru_api::table());
        let store = EmbeddedStore::open(&options, &catalog.indexer()).unwrap();
        let server = Config {
            objects: Objects::new(Arc::new(store), catalog),
            authenticator: Arc::new(Open),
            authorizer: Arc::new(Open),
            admission: Arc::new(Open),
            computed: Arc::new(Open),
            kubelet: None,
            advertised: "127.0.0.1:6443".to_owned(),
            documents: Vec::new(),
        }
        .build();
        Self { server, _directory: directory }
    }

    async fn raw(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> http::Response<Body> {
        let method: Method = method.parse().unwrap();
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        self.server.handle_as(UserInfo::default(), request.body(Full::new(Bytes::from(body))).unwrap()).await
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let response = self.raw(method, path, content_type, bytes).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "", &Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("POST", path, "application/json", &body).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PUT", path, "application/json", &body).await
    }

    async fn merge(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PATCH", path, "application/merge-patch+json", &body).await
    }

    async fn delete(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("DELETE", path, "application/json", &body).await
    }

    async fn watch(&self, path: &str) -> Events {
        let response = self.raw("GET", path, "", Vec::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), lines: Vec::new(), buffer: Vec::new() }
    }
}

struct Events {
    body: Body,
    lines: Vec<Value>,
    buffer: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.unwrap()?.unwrap();
            self.buffer.extend_from_slice(&frame.into_data().unwrap());
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.lines.push(serde_json::from_slice(&line).unwrap());
            }
        }
        Some(self.lines.remove(0))
    }

    /// `TYPE name` of the next event.
    async fn brief(&mut self) -> String {
        let event = self.next().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const PODS: &str = "/api/v1/namespaces/a/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/a/deployments";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn deployment(name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"app": "x"}});
    json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": selector, "template": template}})
}

#[tokio::test]
async fn objects_are_made_read_changed_and_removed() {
    let api = Api::new();
    let (code, made) = api.post(MAPS, map("m")).await;
    assert_eq!((code, &made["kind"], &made["apiVersion"]), (201, &json!("ConfigMap"), &json!("v1")));
    assert_eq!(made["metadata"]["resourceVersion"], "1");
    assert_eq!(api.get(&format!("{MAPS}/m")).await, (200, made.clone()));
    let (code, again) = api.post(MAPS, map("m")).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));

    let mut stale = made.clone();
    stale["data"]["k"] = json!("w");
    assert_eq!(api.put(&format!("{MAPS}/m"), stale.clone()).await.1["metadata"]["resourceVersion"], "2");
    let (code, conflict) = api.put(&format!("{MAPS}/m"), stale.clone()).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")));
    stale["metadata"]["resourceVersion"] = json!("");
    let (_, same) = api.put(&format!("{MAPS}/m"), stale).await;
    assert_eq!(same["metadata"]["resourceVersion"], "2", "a write without a change is no write");

    let (code, status) = api.delete(&format!("{MAPS}/m"), json!({"preconditions": {"uid": "other"}})).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let (code, status) = api.delete(&format!("{MAPS}/m"), Value::Null).await;
    assert_eq!((code, &status["status"], &status["details"]["kind"]), (200, &json!("Success"), &json!("configmaps")));
    let (code, status) = api.get(&format!("{MAPS}/m")).await;
    assert_eq!((code, &status["message"]), (404, &json!("configmaps \"m\" not found")));
}

#[tokio::test]
async fn dry_runs_leave_nothing() {
    let api = Api::new();
    let (code, made) = api.post(&format!("{MAPS}?dryRun=All"), map("m")).await;
    assert_eq!((code, &made["metadata"]["name"]), (201, &json!("m")));
    assert_eq!(api.get(&format!("{MAPS}/m")).await.0, 404);
    api.post(MAPS, map("m")).await;
    let (code, changed) = api.merge(&format!("{MAPS}/m?dryRun=All"), json!({"data": {"k": "w"}})).await;
    assert_eq!((code, &changed["data"]["k"]), (200, &json!("w")));
    assert_eq!(api.delete(&format!("{MAPS}/m?dryRun=All"), Value::Null).await.0, 200);
    assert_eq!(api.get(&format!("{MAPS}/m")).await.1["data"]["k"], "v");
}

#[tokio::test]
async fn status_and_spec_have_their_own_ways() {
    let api = Api::new();
    let mut sent = deployment("d");
    sent["status"] = json!({"replicas": 9});
    let (code, made) = api.post(DEPLOYMENTS, sent).await;
    assert_eq!((code, &made["metadata"]["generation"]), (201, &json!(1)));
    assert!(made["status"]["replicas"].is_null());
    let path = format!("{DEPLOYMENTS}/d");
    let change = json!({"spec": {"replicas": 7}, "status": {"replicas": 3}});
    let (_, after) = api.merge(&format!("{path}/status"), change.clone()).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(after["metadata"]["generation"], 1);
    let (_, after) = api.merge(&path, json!({"spec": {"replicas": 7}, "status": {"replicas": 8}})).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(7), &json!(3)));
    assert_eq!(after["metadata"]["generation"], 2);

    let (_, scale) = api.get(&format!("{path}/scale")).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(7), &json!("app=x")));
    let (code, scale) = api.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 0}})).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(0)));
    assert_eq!(api.get(&path).await.1["metadata"]["generation"], 3);
}

#[tokio::test]
async fn no_way_of_writing_stores_what_typed_clients_cannot_read() {
    let api = Api::new();
    api.post(DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d");
    let (code, refused) = api.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 99_999_999_999_u64}})).await;
    assert_eq!((code, &refused["reason"]), (400, &json!("BadRequest")));
    assert_eq!(api.get(&path).await.1["spec"]["replicas"], 2);

    api.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    let numbered = json!({"metadata": {"name": "n"}, "spec": {"finalizers": [5]}});
    assert_eq!(api.put("/api/v1/namespaces/n/finalize", numbered).await.0, 422);
    assert_eq!(api.get("/api/v1/namespaces/n").await.1["spec"]["finalizers"], json!(["kubernetes"]));

    api.post(PODS, pod("p")).await;
    let target = json!({"kind": "Node", "name": "n1"});
    let binding = json!({"metadata": {"name": "p", "annotations": {"a": 5}}, "target": target});
    assert_eq!(api.post(&format!("{PODS}/p/binding"), binding).await.0, 400);
    assert!(api.get(&format!("{PODS}/p")).await.1["spec"]["nodeName"].is_null());
}

#[tokio::test]
async fn subresources_of_a_pod_change_only_what_they_are_for() {
    let api = Api::new();
    api.post(PODS, pod("p")).await;
    let path = format!("{PODS}/p");
    let (_, stored) = api.get(&path).await;
    let container = stored["spec"]["containers"][0].clone();
    let mut other = container.clone();
    other["image"] = json!("evil");
    let (code, refused) = api.merge(&format!("{path}/resize"), json!({"spec": {"containers": [other]}})).await;
    assert_eq!(code, 422, "{refused}");
    let mut larger = container.clone();
    larger["resources"] = json!({"limits": {"cpu": "2"}});
    assert_eq!(api.merge(&format!("{path}/resize"), json!({"spec": {"containers": [larger]}})).await.0, 200);

    let debug = format!("{path}/ephemeralcontainers");
    let change = |list: Value| json!({"spec": {"ephemeralContainers": list}});
    for (wrong, code) in [
        (json!([{"name": container["name"], "image": "x"}]), 422),
        (json!([{"name": "a"}]), 422),
        (json!([{"name": "a", "image": "x", "ports": [{"containerPort": 1}]}]), 422),
        (json!([{"name": "a", "image": "x", "targetContainerName": "nobody"}]), 422),
        (json!([{"name": "a", "image": 7}]), 422),
    ] {
        assert_eq!(api.merge(&debug, change(wrong.clone())).await.0, code, "{wrong}");
    }
    assert_eq!(api.merge(&debug, change(json!([{"name": "a", "image": "x"}]))).await.0, 200);
    assert_eq!(api.merge(&debug, change(json!([{"name": "a", "image": "y"}]))).await.0, 422);
    assert_eq!(api.merge(&debug, change(json!([]))).await.0, 422);
    assert_eq!(api.get(&path).await.1["spec"]["containers"][0]["image"], container["image"]);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let api = Api::new();
    let mut sent = map("m");
    sent["metadata"]["finalizers"] = json!(["example.com/x"]);
    api.post(MAPS, sent).await;
    let path = format!("{MAPS}/m");
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let (code, marked) = api.delete(&path, json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(code, 200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["example.com/x", "foregroundDeletion"]));
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let (code, refused) = api.merge(&path, json!({"metadata": {"finalizers": ["example.com/x", "new/y"]}})).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
    assert_eq!(api.merge(&path, json!({"metadata": {"finalizers": ["example.com/x"]}})).await.0, 200);
    assert_eq!(api.merge(&path, json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(api.get(&path).await.0, 404);
    assert_eq!(watch.brief().await, "MODIFIED m");
    assert_eq!(watch.brief().await, "MODIFIED m");
    assert_eq!(watch.brief().await, "DELETED m");
}

#[tokio::test]
async fn pods_are_bound_once_and_deleted_with_grace() {
    let api = Api::new();
    api.post(PODS, pod("early")).await;
    assert_eq!(api.delete(&format!("{PODS}/early"), Value::Null).await.0, 200);
    assert_eq!(api.get(&format!("{PODS}/early")).await.0, 404, "nobody runs it, so nobody has to confirm");

    api.post(PODS, pod("p")).await;
    let node = json!({"kind": "Node", "name": "n1"});
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": node});
    assert_eq!(api.post(&format!("{PODS}/p/binding"), binding.clone()).await.0, 201);
    assert_eq!(api.post(&format!("{PODS}/p/binding"), binding).await.0, 409);
    let (_, bound) = api.get(&format!("{PODS}/p")).await;
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n1"), &json!("PodScheduled"))
    );

    let (code, marked) = api.delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 20})).await;
    assert_eq!((code, &marked["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(20)));
    let (_, longer) = api.delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 40})).await;
    assert_eq!(longer["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"]);
    let (_, shorter) = api.delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(api.delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0})).await.0, 200);
    assert_eq!(api.get(&format!("{PODS}/p")).await.0, 404);
}

#[tokio::test]
async fn namespaces_wait_for_their_finalizer() {
    let api = Api::new();
    api.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    let (_, marked) = api.delete("/api/v1/namespaces/n", Value::Null).await;
    assert_eq!(marked["status"]["phase"], "Terminating");
    let mut empty = marked.clone();
    empty["spec"]["finalizers"] = json!([]);
    api.put("/api/v1/namespaces/n", empty.clone()).await;
    assert_eq!(api.get("/api/v1/namespaces/n").await.0, 200, "only finalize takes finalizers of a namespace");
    empty["metadata"]["resourceVersion"] = json!("");
    assert_eq!(api.put("/api/v1/namespaces/n/finalize", empty).await.0, 200);
    assert_eq!(api.get("/api/v1/namespaces/n").await.0, 404);
}

#[tokio::test]
async fn a_selecting_watch_sees_objects_come_and_go() {
    let api = Api::new();
    let mut watch = api.watch(&format!("{MAPS}?watch=1&labelSelector=tier%3Dweb&resourceVersion=0")).await;
    api.post(MAPS, map("m")).await;
    let label = |value: Value| json!({"metadata": {"labels": {"tier": value}}});
    api.merge(&format!("{MAPS}/m"), label(json!("web"))).await;
    api.merge(&format!("{MAPS}/m"), json!({"data": {"k": "w"}})).await;
    api.merge(&format!("{MAPS}/m"), label(Value::Null)).await;
    api.merge(&format!("{MAPS}/m"), label(json!("web"))).await;
    api.delete(&format!("{MAPS}/m"), Value::Null).await;
    assert_eq!(watch.brief().await, "ADDED m");
    assert_eq!(watch.brief().await, "MODIFIED m");
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["resourceVersion"]), (&json!("DELETED"), &json!("4")));
    assert_eq!(gone["object"]["metadata"]["labels"]["tier"], "web", "the last state that was selected");
    assert_eq!(watch.brief().await, "ADDED m");
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["resourceVersion"]), (&json!("DELETED"), &json!("6")));
}

#[tokio::test]
async fn a_list_that_was_authorized_for_one_name_gives_nothing_else() {
    let api = Api::new();
    for name in ["a", "b"] {
        let secret = json!({"metadata": {"name": name}, "type": "Opaque"});
        assert_eq!(api.post("/api/v1/namespaces/default/secrets", secret).await.0, 201);
    }
    // Read loosely these name `a`; as selectors they mean more than it.
    for selector in ["type%21%3Dx%5C%2Cmetadata.name%3Da", "metadata.name%3D%3Da", "type%3DOpaque%2Cmetadata.name%3Da"]
    {
        let (code, list) = api.get(&format!("/api/v1/namespaces/default/secrets?fieldSelector={selector}")).await;
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&Value> = items.iter().map(|item| &item["metadata"]["name"]).collect();
        assert!(code == 400 || names == ["a"], "{selector}: {code} {names:?}");
    }
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_and_watches_end_in_time() {
    let api = Api::new();
    api.post(MAPS, map("m1")).await;
    api.post(MAPS, map("m2")).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let mut watch = api.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.brief().await, "ADDED m1");
    assert_eq!(watch.brief().await, "ADDED m2");
    let mark = watch.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(mark["object"]["metadata"]["resourceVersion"], "2");
    assert!(watch.next().await.is_none(), "the stream ends after timeoutSeconds");
    assert_eq!(api.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.0, 422);
}

#[tokio::test]
async fn pages_are_of_one_revision_until_that_expires() {
    let api = Api::with(|options| {
        options.retention = Duration::from_secs(3);
        options.tick = Duration::from_millis(20);
    });
    for number in 0..5 {
        api.post(MAPS, map(&format!("m{number}"))).await;
    }
    let (_, first) = api.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(
        (&first["metadata"]["remainingItemCount"], &first["metadata"]["resourceVersion"]),
        (&json!(3), &json!("5"))
    );
    api.delete(&format!("{MAPS}/m3"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    let names: Vec<&Value> = second["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, [&json!("m2"), &json!("m3")], "as of the first page");
    assert_eq!(second["metadata"]["resourceVersion"], "5");
    let started = Instant::now();
    let (code, expired) = loop {
        let (code, answer) = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
        if code != 200 || started.elapsed() > DEADLINE {
            break (code, answer);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((code, &expired["reason"]), (410, &json!("Expired")));
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = api.get(&format!("{MAPS}?continue={token}")).await;
    assert_eq!((code, rest["items"].as_array().unwrap().len()), (200, 2));
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let error = watch.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(api.get(&format!("{MAPS}?resourceVersion=99&resourceVersionMatch=NotOlderThan")).await.0, 504);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_creates_are_all_seen_once() {
    let api = Arc::new(Api::new());
    let mut watch = api.watch(&format!("{PODS}?watch=1&resourceVersion=0")).await;
    let creates = futures::stream::iter(0..1000).map(|_| {
        let api = Arc::clone(&api);
        async move {
            let mut sent = pod("");
            sent["metadata"] = json!({"generateName": "web-"});
            tokio::spawn(async move { api.post(PODS, sent).await.0 }).await.unwrap()
        }
    });
    let codes: Vec<u16> = creates.buffer_unordered(1000).collect().await;
    assert!(codes.iter().all(|code| *code == 201));
    let mut names = std::collections::BTreeSet::new();
    let mut last = 0;
    for _ in 0..1000 {
        let event = watch.next().await.unwrap();
        let metadata = &event["object"]["metadata"];
        let revision: u64 = metadata["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(revision > last);
        last = revision;
        assert!(names.insert(metadata["name"].as_str().unwrap().to_owned()));
    }
    assert_eq!(api.get(PODS).await.1["items"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn concurrent_patches_lose_nothing() {
    let api = Arc::new(Api::new());
    api.post(MAPS, map("m")).await;
    let patches = (0..50).map(|number| {
        let api = Arc::clone(&api);
        async move { api.merge(&format!("{MAPS}/m"), json!({"data": {format!("k{number}"): "v"}})).await.0 }
    });
    let codes = futures::future::join_all(patches).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    assert_eq!(api.get(&format!("{MAPS}/m")).await.1["data"].as_object().unwrap().len(), 51);
}

#[tokio::test]
async fn errors_are_statuses() {
    let api = Api::new();
    for (method, path, content_type, body, expected) in [
        ("GET", "/nothing", "", "", 404),
        ("GET", "/apis/apps/v1/widgets", "", "", 404),
        ("POST", MAPS, "application/json", "{", 400),
        ("POST", MAPS, "application/cbor", "x", 415),
        ("POST", MAPS, "application/json", "{\"kind\":\"Secret\"}", 400),
        ("POST", MAPS, "application/json", "{\"metadata\":{}}", 422),
        ("PATCH", MAPS, "application/merge-patch+json", "{}", 405),
        ("GET", "/api/v1/pods?labelSelector=a%20b", "", "", 400),
        ("GET", "/api/v1/pods?fieldSelector=spec.odd%3D1", "", "", 400),
        ("GET", "/api/v1/pods?continue=x", "", "", 400),
    ] {
        let response = api.raw(method, path, content_type, body.as_bytes().to_vec()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (code, &status["kind"], &status["code"]),
            (expected, &json!("Status"), &json!(expected)),
            "{method} {path}"
        );
    }
}
