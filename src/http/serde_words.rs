//! Serde's refusals in our words. Its own texts repeat the rejected value, which may be a
//! password, and name Rust types; a client gets the place and what belongs there.

/// Characters of a field's place that are repeated to the client.
const LONGEST_NAME: usize = 200;

/// What serde complained about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// A field that is not known.
    Unknown(String),
    /// A field that must be there is not.
    Missing(String),
    /// A field is there twice.
    Duplicate(String),
    /// The value is of another type; the text completes "must be …".
    WrongType(&'static str),
    /// The value does not fit.
    Invalid,
}

impl Complaint {
    /// Reads serde's text. Its forms are those of `serde::de::Error`'s provided methods; what is
    /// not recognised is `Invalid`.
    pub(super) fn read(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix("unknown field ") {
            return Self::Unknown(quoted(rest));
        }
        if let Some(rest) = text.strip_prefix("missing field ") {
            return Self::Missing(quoted(rest));
        }
        if let Some(rest) = text.strip_prefix("duplicate field ") {
            return Self::Duplicate(quoted(rest));
        }
        if text.starts_with("invalid type: ") {
            // The rejected value stands before; it may itself say ", expected ".
            let expected = text.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
            return type_name(expected).map_or(Self::Invalid, Self::WrongType);
        }
        if text.starts_with("invalid length ") {
            return Self::WrongType("an object");
        }
        Self::Invalid
    }
}

/// The name between the first and the last back-quote of "`name`, expected one of …".
fn quoted(text: &str) -> String {
    let inner = text.strip_prefix('`').unwrap_or(text);
    short(inner.split_once('`').map_or(inner, |(name, _)| name))
}

/// A name that the client chose, cut so that an answer does not grow with it.
pub(super) fn short(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// "i64 at line 1 column 5" is an integer.
fn type_name(expected: &str) -> Option<&'static str> {
    let word = expected.split(" at line ").next().unwrap_or_default();
    match word {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" => Some("an integer"),
        "f32" | "f64" => Some("a number"),
        "a string" | "a borrowed string" | "a character" => Some("a string"),
        "a boolean" => Some("true or false"),
        "a sequence" | "unit" => Some("an array"),
        "a map" => Some("an object"),
        _ if word.starts_with("struct ") => Some("an object"),
        _ if word.to_ascii_lowercase().contains("uuid") => Some("a UUID"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short("äb"), "äb");
        assert_eq!(short(&"ä".repeat(201)).chars().count(), 201);
    }

    #[test]
    fn serdes_texts_are_understood() {
        let cases = [
            ("unknown field `nmae`, expected one of `name`, `x`", Complaint::Unknown("nmae".into())),
            ("missing field `campaign` at line 1 column 2", Complaint::Missing("campaign".into())),
            ("duplicate field `a` at line 1 column 2", Complaint::Duplicate("a".into())),
            (
                "invalid type: string \", expected u8\", expected i64 at line 1 column 9",
                Complaint::WrongType("an integer"),
            ),
            ("invalid type: null, expected struct Params", Complaint::WrongType("an object")),
            ("UUID parsing failed: invalid length", Complaint::Invalid),
            ("invalid type: map, expected something odd", Complaint::Invalid),
        ];
        for (text, complaint) in cases {
            assert_eq!(Complaint::read(text), complaint, "{text}");
        }
    }
}
