//! What can go wrong with keys and certificates.

/// Every variant names the thing that was read or made, so that the message stands alone.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("could not make {what}")]
    Make {
        what: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("not a private key that can be used (ECDSA P-256 in PKCS#8 PEM is expected)")]
    Key(#[source] rcgen::Error),
    #[error("not a signing request with a valid signature")]
    SigningRequest(#[source] rcgen::Error),
    #[error("not a certificate in PEM form: {reason}")]
    Certificate { reason: String },
    #[error("the certificate of authority `{common_name}` does not belong to the key")]
    KeyMismatch { common_name: String },
    #[error("`{name}` is neither a DNS name nor an IP address")]
    AlternativeName { name: String },
    #[error("a certificate for `{common_name}` cannot name {count} organizations; at most {limit} are possible")]
    TooManyOrganizations { common_name: String, count: usize, limit: usize },
    #[error("the system has no randomness to give")]
    Randomness,
    #[error("what arrived sealed was sealed for somebody else, or changed on its way")]
    Sealed,
    #[error("could not write the kubeconfig")]
    Kubeconfig(#[source] serde_saphyr::ser::Error),
}
