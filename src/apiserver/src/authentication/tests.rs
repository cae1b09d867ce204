//! Tokens bound, expired and forged; certificates as users; impersonation asked for part by part.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::authorization::tests::{Memory, user};
use crate::chain::{ObjectReader, RequestInfo};

/// SubjectPublicKeyInfo of a P-256 key up to its point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn key_pair() -> (String, String) {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    let spki = [&SPKI_PREFIX[..], pair.public_key().as_ref()].concat();
    (pem("PRIVATE KEY", document.as_ref()), pem("PUBLIC KEY", &spki))
}

/// An authority over objects in memory: account `dev/bot` and its pod `p` on node `n`.
pub(crate) fn authority() -> (Arc<Memory>, Arc<TokenAuthority>) {
    let memory = Arc::new(Memory::default());
    memory.put("", "serviceaccounts", json!({"metadata": {"namespace": "dev", "name": "bot", "uid": "u1"}}));
    memory.put("", "nodes", json!({"metadata": {"name": "n", "uid": "n1"}}));
    let spec = json!({"serviceAccountName": "bot", "nodeName": "n"});
    memory.put("", "pods", json!({"metadata": {"namespace": "dev", "name": "p", "uid": "p1"}, "spec": spec}));
    let (private, public) = key_pair();
    let reader = Arc::clone(&memory) as Arc<dyn ObjectReader>;
    let authority = TokenAuthority::new(ISSUER, &private, &[public], reader).unwrap();
    (memory, Arc::new(authority))
}

fn issue(bound: Option<BoundObject>, expiration_s: i64) -> Issue<'static> {
    Issue {
        namespace: "dev",
        service_account: "bot",
        service_account_uid: "u1",
        audiences: vec![ISSUER.to_owned(), "vault".to_owned()],
        expiration_s,
        bound,
        now_unix_s: jiff::Timestamp::now().as_second(),
    }
}

fn pod() -> BoundObject {
    let node = Some(("n".to_owned(), "n1".to_owned()));
    BoundObject::Pod { name: "p".to_owned(), uid: "p1".to_owned(), node }
}

fn bearer(token: &str) -> HeaderMap {
    [(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())].into_iter().collect()
}

#[test]
fn a_bound_token_is_its_service_account() {
    let (_, tokens) = authority();
    let token = tokens.sign(issue(Some(pod()), 3607)).unwrap();
    let found = Authentication::new(tokens, Arc::new(Only(""))).authenticate(&bearer(&token), None).unwrap().unwrap();
    assert_eq!(found.username, "system:serviceaccount:dev:bot");
    assert_eq!(found.uid, "u1");
    assert_eq!(found.groups, ["system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"]);
    assert_eq!(found.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(found.extra["authentication.kubernetes.io/node-uid"], ["n1"]);
    assert!(found.extra[CREDENTIAL_ID][0].starts_with("JTI="));
}

#[test]
fn audiences_are_matched() {
    let (_, tokens) = authority();
    let token = tokens.sign(issue(None, 600)).unwrap();
    assert_eq!(tokens.verify(&token, &["vault".to_owned(), "x".to_owned()]).unwrap().audiences, ["vault"]);
    assert!(matches!(tokens.verify(&token, &["x".to_owned()]), Err(TokenError::Audience { .. })));
}

#[test]
fn tokens_die_with_what_they_are_bound_to() {
    let (memory, tokens) = authority();
    let token = tokens.sign(issue(Some(pod()), 3600)).unwrap();
    assert!(tokens.verify(&token, &[]).is_ok());
    let deleted = |seconds_ago: i64| {
        let time = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - seconds_ago).unwrap();
        json!({"metadata": {"namespace": "dev", "name": "p", "uid": "p1", "deletionTimestamp": time.to_string()}})
    };
    memory.put("", "pods", deleted(30));
    assert!(tokens.verify(&token, &[]).is_ok(), "within its grace");
    memory.put("", "pods", deleted(90));
    assert!(matches!(tokens.verify(&token, &[]), Err(TokenError::Invalidated(_))));
    memory.put("", "pods", json!({"metadata": {"namespace": "dev", "name": "p", "uid": "other"}}));
    assert!(matches!(tokens.verify(&token, &[]), Err(TokenError::Invalidated(_))));
    let unbound = tokens.sign(issue(None, 3600)).unwrap();
    assert!(tokens.verify(&unbound, &[]).is_ok());
    memory.delete("", "serviceaccounts", "dev", "bot");
    assert!(matches!(tokens.verify(&unbound, &[]), Err(TokenError::Invalidated(_))));
}

#[test]
fn bad_tokens_are_refused() {
    let (_, tokens) = authority();
    let (_, others) = authority();
    let foreign = others.sign(issue(None, 3600)).unwrap();
    let mut expired = issue(None, 600);
    expired.now_unix_s -= 700;
    let expired = tokens.sign(expired).unwrap();
    assert!(matches!(tokens.verify(&expired, &[]), Err(TokenError::Expired)));
    let mut early = issue(None, 600);
    early.now_unix_s += 300;
    let early = tokens.sign(early).unwrap();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.";
    let authentication = Authentication::new(tokens, Arc::new(Only("")));
    for token in [foreign.as_str(), expired.as_str(), early.as_str(), unsigned, "x", "a.b.c"] {
        let error = authentication.authenticate(&bearer(token), None).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (401, "Unauthorized"), "{token}");
    }
    assert_eq!(authentication.authenticate(&HeaderMap::new(), None).unwrap(), None);
}

#[test]
fn secret_tokens_live_as_long_as_their_secret() {
    let (memory, tokens) = authority();
    let token = tokens.sign_for_secret("dev", "bot-token", "bot", "u1").unwrap();
    assert!(tokens.verify(&token, &[]).is_err());
    let data = json!({"token": STANDARD.encode(&token)});
    memory.put("", "secrets", json!({"metadata": {"namespace": "dev", "name": "bot-token"}, "data": data}));
    assert_eq!(tokens.verify(&token, &[]).unwrap().user.username, "system:serviceaccount:dev:bot");
    memory.delete("", "secrets", "dev", "bot-token");
    assert!(tokens.verify(&token, &[]).is_err());
}

#[test]
fn discovery_documents_describe_the_key() {
    let (_, tokens) = authority();
    let keys = openid_keys(&tokens);
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    assert_eq!(key["x"].as_str().unwrap().len(), 43);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["vault"]);
    let token = tokens.sign(issue(None, 600)).unwrap();
    let data = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
    assert_eq!(data.claims["kubernetes.io"]["serviceaccount"], json!({"name": "bot", "uid": "u1"}));
    let document = openid_configuration(&tokens, "10.1.0.11:6443");
    assert_eq!(document["jwks_uri"], "https://10.1.0.11:6443/openid/v1/jwks");
    assert_eq!(document["issuer"], ISSUER);
}

/// Within the validity of `admin-test.pem`, whatever the clock of the machine says.
const CERTIFICATE_VALID_AT_UNIX_S: i64 = 1_800_000_000;

/// A certificate only, no key beside it; made by
/// `openssl req -x509 -subj "/O=system:masters/O=ops/CN=naru:admin" -days 36500`.
#[test]
fn certificates_name_users() {
    let body = include_str!("admin-test.pem").split("-----").nth(2).unwrap().split_whitespace().collect::<String>();
    let der = STANDARD.decode(body).unwrap();
    let found = user_of_certificate(&der, CERTIFICATE_VALID_AT_UNIX_S).unwrap().unwrap();
    assert_eq!(
        (found.username.as_str(), found.groups.as_slice()),
        ("naru:admin", &["system:masters".to_owned(), "ops".to_owned()][..])
    );
    assert!(found.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    assert_eq!(user_of_certificate(&der, 0).unwrap_err().code, 401, "not valid yet");
    assert_eq!(user_of_certificate(b"junk", 0).unwrap_err().code, 401);
}

struct Only(&'static str);

impl Authorizer for Only {
    fn authorize(&self, _user: &UserInfo, info: &RequestInfo) -> Result<(), ApiError> {
        let asked = format!("{} {}/{} {}", info.verb, info.resource, info.subresource, info.name);
        if self.0.split(',').any(|allowed| allowed == asked) { Ok(()) } else { Err(ApiError::bad_request(asked)) }
    }
}

#[test]
fn impersonation_asks_for_each_part() {
    let headers: HeaderMap =
        [("impersonate-user", "jane"), ("impersonate-group", "dev"), ("impersonate-extra-acme.com%2Fproject", "x")]
            .into_iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
    let admin = user("admin", &[]);
    let all = "impersonate users/ jane,impersonate groups/ dev,impersonate userextras/acme.com/project x";
    let jane = impersonate(&headers, admin.clone(), &Only(all)).unwrap();
    assert_eq!((jane.username.as_str(), jane.groups.join(" ").as_str()), ("jane", "dev system:authenticated"));
    assert_eq!(jane.extra["acme.com/project"], ["x"]);
    let refused = impersonate(&headers, admin.clone(), &Only("impersonate users/ jane")).unwrap_err();
    assert_eq!(refused.message, "impersonate groups/ dev");
    assert_eq!(impersonate(&HeaderMap::new(), admin.clone(), &Only("")).unwrap(), admin);
    let (_, tokens) = authority();
    let chain = Authentication::new(tokens, Arc::new(Only(all)));
    assert_eq!(
        chain.authenticate(&headers, None).unwrap().unwrap().username,
        "jane",
        "the chain impersonates by itself"
    );
    let account: HeaderMap =
        [(http::HeaderName::from_static("impersonate-user"), "system:serviceaccount:dev:bot".parse().unwrap())]
            .into_iter()
            .collect();
    let bot = impersonate(&account, admin, &Only("impersonate serviceaccounts/ bot")).unwrap();
    assert_eq!(bot.groups, ["system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"]);
}
