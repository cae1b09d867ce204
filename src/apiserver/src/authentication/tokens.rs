//! Service-account tokens: signing (ES256), verifying, and checking that what a token speaks for still exists.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CREDENTIAL_ID, SERVICE_ACCOUNT_PREFIX, service_account_groups};
use crate::admission::fields::text;
use crate::chain::{ObjectReader, UserInfo};

const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Verified signatures that are remembered; the whole memory is dropped when it is full of living ones.
const CACHE_ENTRIES: usize = 2048;
const CACHE_SECONDS: i64 = 300;
/// A deleted pod's token keeps working this long after its deletion time, so that its shutdown can use the API.
const DELETION_GRACE_SECONDS: i64 = 60;
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Bytes of an uncompressed P-256 point at the end of its SubjectPublicKeyInfo.
const POINT_BYTES: usize = 65;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the service-account signing key is not a P-256 private key in PEM (PKCS#8)")]
    Private(#[source] jsonwebtoken::errors::Error),
    #[error("service-account public key {position} is not a P-256 public key in PEM")]
    Public { position: usize },
    #[error("no service-account public key was given")]
    NoPublicKey,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("invalid bearer token")]
    Malformed,
    #[error("invalid bearer token: {0}")]
    Signature(#[source] jsonwebtoken::errors::Error),
    #[error("token has expired")]
    Expired,
    #[error("token audiences {found:?} do not contain any of {wanted:?}")]
    Audience { found: Vec<String>, wanted: Vec<String> },
    #[error("service account token has been invalidated: {0}")]
    Invalidated(String),
    #[error("token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reference {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    jti: String,
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Option::is_none")]
    private: Option<Private>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default, skip_serializing_if = "String::is_empty")]
    legacy_namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default, skip_serializing_if = "String::is_empty")]
    legacy_secret: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.name",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    legacy_name: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.uid",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    legacy_uid: String,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(audience) => vec![audience],
        OneOrMany::Many(audiences) => audiences,
    })
}

/// What a token lives and dies with, beside its service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundObject {
    Pod { name: String, uid: String, node: Option<(String, String)> },
    Secret { name: String, uid: String },
    Node { name: String, uid: String },
}

/// A token to be signed.
#[derive(Debug)]
pub struct Issue<'a> {
    pub namespace: &'a str,
    pub service_account: &'a str,
    pub service_account_uid: &'a str,
    pub audiences: Vec<String>,
    pub expiration_s: i64,
    pub bound: Option<BoundObject>,
    pub now_unix_s: i64,
}

/// A good token: its user, and those of the wanted audiences that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub user: UserInfo,
    pub audiences: Vec<String>,
}

struct Verifier {
    key_id: String,
    key: DecodingKey,
    point: [u8; POINT_BYTES],
}

struct Remembered {
    claims: Arc<Claims>,
    until_unix_s: i64,
}

/// Signs and verifies the tokens of service accounts.
pub struct TokenAuthority {
    issuer: String,
    signing: EncodingKey,
    verifiers: Vec<Verifier>,
    reader: Arc<dyn ObjectReader>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl TokenAuthority {
    /// The first public key belongs to the signing key; further ones are those of earlier signing keys. The issuer is
    /// also the audience of the API server.
    pub fn new(
        issuer: &str,
        private_key_pem: &str,
        public_keys_pem: &[String],
        reader: Arc<dyn ObjectReader>,
    ) -> Result<Self, KeyError> {
        let signing = EncodingKey::from_ec_pem(private_key_pem.as_bytes()).map_err(KeyError::Private)?;
        let verifiers = public_keys_pem
            .iter()
            .enumerate()
            .map(|(position, pem)| verifier(pem).ok_or(KeyError::Public { position }))
            .collect::<Result<Vec<_>, _>>()?;
        if verifiers.is_empty() {
            return Err(KeyError::NoPublicKey);
        }
        Ok(Self { issuer: issuer.to_owned(), signing, verifiers, reader, remembered: Mutex::default() })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys as JSON Web Keys.
    pub(crate) fn public_keys(&self) -> Vec<Value> {
        let half = (POINT_BYTES - 1) / 2;
        let jwk = |verifier: &Verifier| {
            let (x, y) = verifier.point[1..].split_at(half);
            json!({
                "use": "sig", "kty": "EC", "kid": verifier.key_id, "crv": "P-256", "alg": "ES256",
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            })
        };
        self.verifiers.iter().map(jwk).collect()
    }

    pub fn sign(&self, issue: Issue<'_>) -> Result<String, TokenError> {
        let mut private = Private {
            namespace: issue.namespace.to_owned(),
            serviceaccount: Reference {
                name: issue.service_account.to_owned(),
                uid: issue.service_account_uid.to_owned(),
            },
            ..Private::default()
        };
        let reference = |name, uid| Some(Reference { name, uid });
        match issue.bound {
            Some(BoundObject::Pod { name, uid, node }) => {
                private.pod = reference(name, uid);
                private.node = node.and_then(|(name, uid)| reference(name, uid));
            }
            Some(BoundObject::Secret { name, uid }) => private.secret = reference(name, uid),
            Some(BoundObject::Node { name, uid }) => private.node = reference(name, uid),
            None => {}
        }
        let claims = Claims {
            aud: issue.audiences,
            exp: Some(issue.now_unix_s.saturating_add(issue.expiration_s)),
            iat: Some(issue.now_unix_s),
            nbf: Some(issue.now_unix_s),
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", issue.namespace, issue.service_account),
            private: Some(private),
            ..Claims::default()
        };
        self.encode(&claims)
    }

    /// The never-expiring token that a Secret of type `kubernetes.io/service-account-token` holds.
    pub fn sign_for_secret(
        &self,
        namespace: &str,
        secret: &str,
        service_account: &str,
        service_account_uid: &str,
    ) -> Result<String, TokenError> {
        self.encode(&Claims {
            iss: LEGACY_ISSUER.to_owned(),
            sub: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{service_account}"),
            legacy_namespace: namespace.to_owned(),
            legacy_secret: secret.to_owned(),
            legacy_name: service_account.to_owned(),
            legacy_uid: service_account_uid.to_owned(),
            ..Claims::default()
        })
    }

    fn encode(&self, claims: &Claims) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.verifiers[0].key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(TokenError::Sign)
    }

    /// Judges a token; no wanted audiences means the API server's own.
    pub fn verify(&self, token: &str, wanted_audiences: &[String]) -> Result<Verified, TokenError> {
        self.verify_at(token, wanted_audiences, jiff::Timestamp::now().as_second())
    }

    fn verify_at(&self, token: &str, wanted: &[String], now_unix_s: i64) -> Result<Verified, TokenError> {
        let claims = self.claims(token, now_unix_s)?;
        let own = [self.issuer.clone()];
        let wanted = if wanted.is_empty() { &own[..] } else { wanted };
        if claims.iss == LEGACY_ISSUER {
            return self.verify_legacy(&claims, token, wanted);
        }
        let audiences: Vec<String> = claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            return Err(TokenError::Audience { found: claims.aud.clone(), wanted: wanted.to_vec() });
        }
        let private = claims.private.as_ref().ok_or(TokenError::Malformed)?;
        if claims.sub != format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", private.namespace, private.serviceaccount.name) {
            return Err(TokenError::Malformed);
        }
        self.check_alive(private, now_unix_s)?;
        Ok(Verified { user: user_of(&claims, private), audiences })
    }

    /// The claims of a token whose signature and times are good.
    fn claims(&self, token: &str, now_unix_s: i64) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(remembered) = self.remembered.lock().get(&digest)
            && now_unix_s < remembered.until_unix_s
        {
            return Ok(Arc::clone(&remembered.claims));
        }
        let claims = Arc::new(self.decode(token)?);
        let expires = claims.exp.unwrap_or(i64::MAX);
        if now_unix_s >= expires {
            return Err(TokenError::Expired);
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= CACHE_ENTRIES {
            remembered.retain(|_, entry| now_unix_s < entry.until_unix_s);
        }
        if remembered.len() >= CACHE_ENTRIES {
            remembered.clear();
        }
        let until_unix_s = expires.min(now_unix_s + CACHE_SECONDS);
        remembered.insert(digest, Remembered { claims: Arc::clone(&claims), until_unix_s });
        Ok(claims)
    }

    fn decode(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        // Legacy tokens never expire; the time of all others is checked by the caller.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.set_issuer(&[self.issuer.as_str(), LEGACY_ISSUER]);
        let mut last = TokenError::Malformed;
        for verifier in &self.verifiers {
            if header.kid.as_ref().is_some_and(|key_id| *key_id != verifier.key_id) {
                continue;
            }
            match jsonwebtoken::decode::<Claims>(token, &verifier.key, &validation) {
                Ok(data) if data.claims.exp.is_none() && data.claims.iss != LEGACY_ISSUER => {
                    last = TokenError::Malformed;
                }
                Ok(data) => return Ok(data.claims),
                Err(error) => last = TokenError::Signature(error),
            }
        }
        Err(last)
    }

    fn verify_legacy(&self, claims: &Claims, token: &str, wanted: &[String]) -> Result<Verified, TokenError> {
        if !wanted.contains(&self.issuer) {
            return Err(TokenError::Audience { found: vec![self.issuer.clone()], wanted: wanted.to_vec() });
        }
        let namespace = claims.legacy_namespace.as_str();
        let gone = |what: &str| TokenError::Invalidated(format!("secret {namespace}/{} {what}", claims.legacy_secret));
        let secret = self.reader.get("", "secrets", namespace, &claims.legacy_secret);
        let secret = secret.ok_or_else(|| gone("no longer exists"))?;
        if secret.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(gone("is being deleted"));
        }
        if STANDARD.decode(text(&secret, "/data/token")).ok().as_deref() != Some(token.as_bytes()) {
            return Err(gone("holds another token"));
        }
        let private = Private {
            namespace: namespace.to_owned(),
            serviceaccount: Reference { name: claims.legacy_name.clone(), uid: claims.legacy_uid.clone() },
            ..Private::default()
        };
        self.check_alive(&private, jiff::Timestamp::now().as_second())?;
        Ok(Verified { user: user_of(claims, &private), audiences: vec![self.issuer.clone()] })
    }

    /// The account and what the token is bound to must exist under the same UID and not be deleted for long.
    fn check_alive(&self, private: &Private, now_unix_s: i64) -> Result<(), TokenError> {
        let namespace = private.namespace.as_str();
        self.check_object("serviceaccounts", namespace, &private.serviceaccount, now_unix_s)?;
        if let Some(pod) = &private.pod {
            return self.check_object("pods", namespace, pod, now_unix_s);
        }
        if let Some(secret) = &private.secret {
            return self.check_object("secrets", namespace, secret, now_unix_s);
        }
        match &private.node {
            Some(node) => self.check_object("nodes", "", node, now_unix_s),
            None => Ok(()),
        }
    }

    fn check_object(
        &self,
        plural: &str,
        namespace: &str,
        wanted: &Reference,
        now_unix_s: i64,
    ) -> Result<(), TokenError> {
        let broken = |what: &str| TokenError::Invalidated(format!("{plural} {namespace}/{} {what}", wanted.name));
        let object = self.reader.get("", plural, namespace, &wanted.name).ok_or_else(|| broken("does not exist"))?;
        if text(&object, "/metadata/uid") != wanted.uid {
            return Err(broken("was made anew"));
        }
        let deleted = text(&object, "/metadata/deletionTimestamp");
        match deleted.parse::<jiff::Timestamp>() {
            Ok(time) if time.as_second() + DELETION_GRACE_SECONDS < now_unix_s => Err(broken("has been deleted")),
            _ => Ok(()),
        }
    }
}

fn user_of(claims: &Claims, private: &Private) -> UserInfo {
    let mut user = UserInfo {
        username: claims.sub.clone(),
        uid: private.serviceaccount.uid.clone(),
        groups: service_account_groups(&private.namespace),
        ..UserInfo::default()
    };
    let mut add = |key: &str, value: String| user.extra.insert(key.to_owned(), vec![value]);
    if !claims.jti.is_empty() {
        add(CREDENTIAL_ID, format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &private.pod {
        add("authentication.kubernetes.io/pod-name", pod.name.clone());
        add("authentication.kubernetes.io/pod-uid", pod.uid.clone());
    }
    if let Some(node) = &private.node {
        add("authentication.kubernetes.io/node-name", node.name.clone());
        if !node.uid.is_empty() {
            add("authentication.kubernetes.io/node-uid", node.uid.clone());
        }
    }
    user
}

fn verifier(pem: &str) -> Option<Verifier> {
    let body = pem.split_once("-----BEGIN PUBLIC KEY-----")?.1.split_once("-----END PUBLIC KEY-----")?.0;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    let point: [u8; POINT_BYTES] = der.get(der.len().checked_sub(POINT_BYTES)?..)?.try_into().ok()?;
    if point[0] != 4 {
        return None;
    }
    let key = DecodingKey::from_ec_pem(pem.as_bytes()).ok()?;
    Some(Verifier { key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(&der)), key, point })
}
