//! The user of a client certificate: common name is the username, organizations are the groups.

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CREDENTIAL_ID;
use crate::chain::UserInfo;
use crate::status::ApiError;

/// The TLS layer has verified the chain. Validity is checked again because connections outlive certificates.
/// A certificate without a common name names nobody.
pub fn user_of_certificate(der: &[u8], now_unix_s: i64) -> Result<Option<UserInfo>, ApiError> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Err(ApiError::unauthorized()) };
    let validity = certificate.validity();
    if now_unix_s < validity.not_before.timestamp() || now_unix_s > validity.not_after.timestamp() {
        tracing::debug!(not_after = %validity.not_after, "refused a client certificate outside its validity");
        return Err(ApiError::unauthorized());
    }
    let subject = certificate.subject();
    let Some(username) = subject.iter_common_name().find_map(|name| name.as_str().ok()).filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    let credential = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    Ok(Some(UserInfo {
        username: username.to_owned(),
        uid: String::new(),
        groups,
        extra: [(CREDENTIAL_ID.to_owned(), vec![credential])].into(),
    }))
}
