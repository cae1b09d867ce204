//! Keys, certificate authorities, certificates and kubeconfigs. Everything here works on PEM text in memory; where
//! files lie and which mode they have is the business of `naru-resources`.

mod authority;
mod error;
mod facts;
mod key;
mod kubeconfig;
mod sealed;

pub use authority::{Authority, Profile, Purpose, signing_request};
pub use error::PkiError;
pub use facts::CertificateFacts;
pub use key::PrivateKey;
pub use kubeconfig::Kubeconfig;
pub use sealed::{Recipient, seal};
