//! Certificates: key and signing request on the host, signature on the authority's host, certificate back.

use naru_agent::{Request, Response};
use naru_observe::AgentError;
use naru_resources::Certificate;

use super::Lines;
use crate::world::{World, unexpected};

impl World<'_> {
    pub(super) async fn certificates(
        &self,
        host: &str,
        certificates: &[Certificate],
        authority_host: &str,
        authority_key_path: &str,
    ) -> Lines {
        let mut lines = Vec::new();
        for certificate in certificates {
            self.certificate(host, certificate, authority_host, authority_key_path).await?;
            lines.push(format!("issue {}", certificate.certificate_path));
        }
        Ok(lines)
    }

    async fn certificate(
        &self,
        name: &str,
        certificate: &Certificate,
        authority_host: &str,
        authority_key_path: &str,
    ) -> Result<(), AgentError> {
        let (host, authority) = (self.agent(name).await?, self.agent(authority_host).await?);
        let request = Request::SigningRequest { certificate: certificate.clone() };
        let Response::SigningRequest { pem } = host.call(request).await? else {
            return Err(unexpected(name, "a signing request"));
        };
        let request = Request::Sign {
            signing_request_pem: pem,
            certificate: certificate.clone(),
            authority_key_path: authority_key_path.to_owned(),
        };
        let Response::Signed { certificate_pem, authority_pem } = authority.call(request).await? else {
            return Err(unexpected(authority_host, "a signature"));
        };
        let certificate = certificate.clone();
        match host.call(Request::InstallCertificate { certificate, certificate_pem, authority_pem }).await? {
            Response::Done | Response::Changes { .. } => Ok(()),
            _ => Err(unexpected(name, "installing a certificate")),
        }
    }
}
