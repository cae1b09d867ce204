//! Who is asking: client certificates, service-account tokens, impersonation. Anonymous requests are the HTTP
//! layer's to name.

mod certificate;
mod discovery;
mod impersonation;
mod tokens;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::chain::{Authenticator, Authorizer, UserInfo};
use crate::status::ApiError;

pub use certificate::user_of_certificate;
pub use discovery::{OPENID_CONFIGURATION_PATH, OPENID_KEYS_PATH, openid_configuration, openid_keys};
pub use impersonation::impersonate;
pub use tokens::{BoundObject, Issue, KeyError, TokenAuthority, TokenError, Verified};

pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
pub const MASTERS: &str = "system:masters";
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Certificates first, then bearer tokens, as upstream orders them; then whom the client asks to be.
pub struct Authentication {
    tokens: Arc<TokenAuthority>,
    /// Says who may impersonate whom.
    authorizer: Arc<dyn Authorizer>,
}

impl Authentication {
    pub fn new(tokens: Arc<TokenAuthority>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { tokens, authorizer }
    }

    fn identify(
        &self,
        headers: &HeaderMap,
        client_certificate_der: Option<&[u8]>,
    ) -> Result<Option<UserInfo>, ApiError> {
        if let Some(der) = client_certificate_der
            && let Some(user) = user_of_certificate(der, jiff::Timestamp::now().as_second())?
        {
            return Ok(Some(with_authenticated(user)));
        }
        let Some(token) = bearer_token(headers) else { return Ok(None) };
        match self.tokens.verify(token, &[]) {
            Ok(verified) => Ok(Some(with_authenticated(verified.user))),
            Err(error) => {
                tracing::debug!(%error, "refused a bearer token");
                Err(ApiError::unauthorized())
            }
        }
    }
}

impl Authenticator for Authentication {
    fn authenticate(
        &self,
        headers: &HeaderMap,
        client_certificate_der: Option<&[u8]>,
    ) -> Result<Option<UserInfo>, ApiError> {
        let user = self.identify(headers, client_certificate_der)?;
        if !impersonation::is_wanted(headers) {
            return Ok(user);
        }
        impersonate(headers, user.unwrap_or_else(anonymous), &*self.authorizer).map(Some)
    }
}

fn anonymous() -> UserInfo {
    UserInfo { username: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..UserInfo::default() }
}

/// Every user that is somebody is a member of `system:authenticated`.
pub(crate) fn with_authenticated(mut user: UserInfo) -> UserInfo {
    if user.username != ANONYMOUS && !user.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED)
    {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// Namespace and name of `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) fn service_account_of(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

pub(crate) fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
pub(crate) mod tests;
