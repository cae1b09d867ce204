//! `naru explain-field`: what a field of the inventory means, from its schema.

use clap::Args;

use super::print;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct ExplainField {
    /// The field, as spec.controlPlane.store or spec.hosts[].labels.
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

impl ExplainField {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match naru_inventory::explain(self.path.as_deref()) {
            Ok(text) => print(&text),
            Err(unknown) => {
                let failure = Failure::user(unknown.to_string());
                let failure = match unknown.known.as_slice() {
                    [] => failure,
                    known => failure.detail(format!("known there: {}", known.join(", "))),
                };
                Err(failure.hint(match unknown.nearest {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "`naru explain-field` lists all fields".to_owned(),
                }))
            }
        }
    }
}
