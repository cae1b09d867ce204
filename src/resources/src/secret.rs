//! Secrets in texts: a plan holds only references to them, as markers, and the operator's side puts the secrets in
//! just before a text leaves for its host.

use zeroize::Zeroizing;

const BEGIN: &str = "\u{27e6}naru-secret ";
const END: char = '\u{27e7}';
/// More markers in one text are surely a mistake.
const MAX_MARKERS: usize = 1_024;

/// How the secret is written where the marker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    Plain,
    /// Inside the quotes of a TOML or JSON string.
    Quoted,
}

const NOTATIONS: [(Notation, &str); 2] = [(Notation::Plain, "plain"), (Notation::Quoted, "quoted")];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the secret {reference} is not to be had: {reason}")]
    Missing { reference: String, reason: String },
    #[error("a marker of a secret is damaged")]
    Damaged,
}

/// What stands in a text for the secret of this reference (`${NAME}` or `file:PATH`).
#[must_use]
pub fn marker(reference: &str, notation: Notation) -> String {
    let word = NOTATIONS.iter().find(|(known, _)| *known == notation).map_or("plain", |(_, word)| *word);
    format!("{BEGIN}{word} {reference}{END}")
}

/// The text with its secrets; `lookup` gives the secret of a reference.
///
/// # Errors
/// When a secret is not to be had, or a marker cannot be read.
pub fn reveal(
    text: &str,
    lookup: &dyn Fn(&str) -> Result<Zeroizing<String>, String>,
) -> Result<Zeroizing<String>, SecretError> {
    let mut revealed = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    for _ in 0..=MAX_MARKERS {
        let Some((before, from_marker)) = rest.split_once(BEGIN) else {
            revealed.push_str(rest);
            return Ok(revealed);
        };
        let (body, after) = from_marker.split_once(END).ok_or(SecretError::Damaged)?;
        let (word, reference) = body.split_once(' ').ok_or(SecretError::Damaged)?;
        let notation = NOTATIONS.iter().find(|(_, known)| *known == word).ok_or(SecretError::Damaged)?.0;
        let secret =
            lookup(reference).map_err(|reason| SecretError::Missing { reference: reference.to_owned(), reason })?;
        revealed.push_str(before);
        match notation {
            Notation::Plain => revealed.push_str(&secret),
            Notation::Quoted => {
                let quoted = Zeroizing::new(serde_json::Value::String(secret.to_string()).to_string());
                revealed.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
        rest = after;
    }
    Err(SecretError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(reference: &str) -> Result<Zeroizing<String>, String> {
        if reference == "${PASSWORD}" { Ok(Zeroizing::new("a\"b".to_owned())) } else { Err("not set".to_owned()) }
    }

    #[test]
    fn secrets_stand_where_their_markers_stood() {
        let (plain, quoted) = (marker("${PASSWORD}", Notation::Plain), marker("${PASSWORD}", Notation::Quoted));
        let text = format!("p = {plain}\nq = \"{quoted}\"\n");
        assert!(!text.contains("a\"b"));
        assert_eq!(*reveal(&text, &lookup).unwrap(), "p = a\"b\nq = \"a\\\"b\"\n");
    }

    #[test]
    fn a_missing_secret_and_a_damaged_marker_are_told() {
        let missing = reveal(&marker("${OTHER}", Notation::Plain), &lookup).unwrap_err();
        assert!(missing.to_string().contains("${OTHER}"), "{missing}");
        assert_eq!(reveal(BEGIN, &lookup), Err(SecretError::Damaged));
    }
}
