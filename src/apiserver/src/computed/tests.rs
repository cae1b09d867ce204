//! Reviews and token requests over objects in memory: for others, for oneself, for nodes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::authentication::tests::authority;
use crate::authorization::RBAC_GROUP;
use crate::authorization::tests::{Memory, binding, request, role, user};

fn reviews() -> (Arc<Memory>, Reviews) {
    let (memory, tokens) = authority();
    let reader = Arc::clone(&memory) as Arc<dyn ObjectReader>;
    let rules = json!([
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
    ]);
    memory.put(RBAC_GROUP, "clusterroles", role("clusterroles", "", "reader", rules));
    let subject = json!({"kind": "User", "name": "alice"});
    memory.put(RBAC_GROUP, "clusterrolebindings", binding("", "b", "ClusterRole", "reader", subject));
    let rbac = Arc::new(Rbac::new(Arc::clone(&reader)));
    (memory, Reviews::new(rbac, tokens, reader))
}

fn post(reviews: &Reviews, who: &UserInfo, line: &str, object: Value) -> Result<Value, ApiError> {
    reviews.create(who, &request(line), object)
}

#[test]
fn access_reviews_answer_for_others_and_oneself() {
    let (_, reviews) = reviews();
    let alice = user("alice", &[]);
    let pods = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let line = "create authorization.k8s.io selfsubjectaccessreviews -";
    let own = post(&reviews, &alice, line, pods.clone()).unwrap();
    assert_eq!(own["status"]["allowed"], true);
    assert_eq!(
        own["status"]["reason"],
        "RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"reader\" to User \"alice\""
    );
    let stranger = post(&reviews, &user("bob", &[]), line, pods).unwrap();
    assert_eq!(stranger["status"], json!({"allowed": false}));
    let other = json!({"spec": {"user": "alice", "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    let line = "create authorization.k8s.io subjectaccessreviews -";
    assert_eq!(post(&reviews, &user("bob", &[]), line, other).unwrap()["status"]["allowed"], true);
    let nobody = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    let error = post(&reviews, &alice, line, nobody).unwrap_err();
    assert_eq!(
        error.message,
        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": \
         at least one of user or group must be specified"
    );
}

#[test]
fn local_reviews_stay_in_their_namespace() {
    let (_, reviews) = reviews();
    let attributes = json!({"verb": "list", "resource": "pods", "namespace": "b"});
    let object = json!({"spec": {"user": "alice", "resourceAttributes": attributes}});
    let line = "create authorization.k8s.io localsubjectaccessreviews a";
    let error = post(&reviews, &user("x", &[]), line, object).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (400, "spec.resourceAttributes.namespace must match namespace: a")
    );
}

#[test]
fn rules_reviews_list_everything() {
    let (_, reviews) = reviews();
    let line = "create authorization.k8s.io selfsubjectrulesreviews -";
    let answer = post(&reviews, &user("alice", &[]), line, json!({"spec": {"namespace": "default"}})).unwrap();
    assert_eq!(
        answer["status"],
        json!({
            "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
            "incomplete": false,
        })
    );
}

#[test]
fn tokens_are_requested_and_reviewed() {
    let (_, reviews) = reviews();
    let line = "create - serviceaccounts/token dev bot";
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1"});
    let asked = json!({"kind": "TokenRequest", "spec": {"audiences": null, "boundObjectRef": bound}});
    let answer = post(&reviews, &user("admin", &[]), line, asked.clone()).unwrap();
    assert_eq!(answer["spec"]["expirationSeconds"], 3600);
    assert_eq!(answer["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let review = json!({"spec": {"token": answer["status"]["token"]}});
    let line = "create authentication.k8s.io tokenreviews -";
    let reviewed = post(&reviews, &user("admin", &[]), line, review).unwrap();
    assert_eq!(reviewed["status"]["authenticated"], true);
    assert_eq!(reviewed["status"]["user"]["username"], "system:serviceaccount:dev:bot");
    let bad = post(&reviews, &user("admin", &[]), line, json!({"spec": {"token": "x"}})).unwrap();
    assert_eq!(bad["status"], json!({"user": {}, "error": "invalid bearer token"}));
}

#[test]
fn token_requests_are_checked() {
    let (_, reviews) = reviews();
    let line = "create - serviceaccounts/token dev bot";
    let ask = |spec: Value| post(&reviews, &user("admin", &[]), line, json!({"spec": spec})).unwrap_err();
    assert_eq!(
        ask(json!({"expirationSeconds": 599})).message,
        "TokenRequest.authentication.k8s.io \"bot\" is invalid: spec.expirationSeconds: Invalid value: 599: \
         may not specify a duration less than 10 minutes"
    );
    assert!(ask(json!({"expirationSeconds": 4_294_967_297_i64})).message.ends_with("larger than 2^32 seconds"));
    let pod = |name: &str, uid: &str| {
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        json!({"boundObjectRef": reference})
    };
    assert_eq!(ask(pod("q", "")).message, "pods \"q\" not found");
    assert_eq!(ask(pod("p", "old")).code, 409);
    let gone = post(&reviews, &user("a", &[]), "create - serviceaccounts/token dev none", json!({})).unwrap_err();
    assert_eq!(gone.message, "serviceaccounts \"none\" not found");
}

#[test]
fn nodes_get_tokens_only_for_their_pods() {
    let (_, reviews) = reviews();
    let line = "create - serviceaccounts/token dev bot";
    let bound = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1"}}});
    let node = |name: &str| user(&format!("system:node:{name}"), &["system:nodes"]);
    assert!(post(&reviews, &node("n"), line, bound.clone()).is_ok());
    let error = post(&reviews, &node("m"), line, bound).unwrap_err();
    assert!(error.message.ends_with("node requested token bound to a pod scheduled on a different node"));
    let error = post(&reviews, &node("n"), line, json!({"spec": {}})).unwrap_err();
    assert_eq!(error.message, "serviceaccounts \"bot\" is forbidden: node requested token not bound to a pod");
}
