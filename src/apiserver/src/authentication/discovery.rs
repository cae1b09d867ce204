//! The two documents by which others verify our service-account tokens.

use serde_json::{Value, json};

use super::TokenAuthority;

pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// Content type `application/jwk-set+json`.
pub const OPENID_KEYS_PATH: &str = "/openid/v1/jwks";

/// `authority` is the host and port under which clients reach this server.
pub fn openid_configuration(tokens: &TokenAuthority, authority: &str) -> Value {
    json!({
        "issuer": tokens.issuer(),
        "jwks_uri": format!("https://{authority}{OPENID_KEYS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

pub fn openid_keys(tokens: &TokenAuthority) -> Value {
    json!({"keys": tokens.public_keys()})
}
