//! JSON as we accept it: one value, nothing after it, no key twice in an object, bounded nesting.
//! serde_json alone takes the last of two unknown duplicate keys and nests to 128; two parsers
//! that disagree about a signed document are how signatures get bypassed.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

use crate::limits;
use crate::refusal::Refusal;

/// Parses a document of at most `limit` bytes that is no message of its own but is pinned by one:
/// an image's manifest, an OCI manifest. Refused by name as messages are.
pub fn strict_json<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, Refusal> {
    if bytes.len() > limit {
        return Err(Refusal::Oversized { bytes: bytes.len(), limit });
    }
    from_slice(bytes)
}

/// Parses `bytes` into `T`, refusing by name what this file's head forbids.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    check_shape(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| Refusal::Malformed { reason: error.to_string() })
}

fn check_shape(bytes: &[u8]) -> Result<(), Refusal> {
    let mut found = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let shape = Shape { depth: 0, found: &mut found };
    if let Err(error) = shape.deserialize(&mut json) {
        return Err(match found {
            Some(refusal) => refusal,
            None if error.is_eof() => Refusal::Truncated { bytes: bytes.len() },
            None => Refusal::Malformed { reason: error.to_string() },
        });
    }
    json.end().map_err(|_| Refusal::TrailingBytes { bytes: bytes.len() - json_length(bytes) })
}

/// How many bytes the first JSON value of `bytes` takes, white space before it included.
fn json_length(bytes: &[u8]) -> usize {
    let mut values =
        serde_json::Deserializer::from_slice(bytes).into_iter::<serde::de::IgnoredAny>();
    values.next();
    values.byte_offset()
}

/// Walks a value of any form and keeps nothing of it but the reason to refuse it.
struct Shape<'a> {
    depth: usize,
    found: &'a mut Option<Refusal>,
}

impl Shape<'_> {
    fn inner(&mut self) -> Shape<'_> {
        Shape { depth: self.depth + 1, found: self.found }
    }

    fn enter<E: Error>(&mut self) -> Result<(), E> {
        if self.depth < limits::JSON_DEPTH {
            return Ok(());
        }
        self.refuse(Refusal::TooDeep { limit: limits::JSON_DEPTH })
    }

    fn refuse<T, E: Error>(&mut self, refusal: Refusal) -> Result<T, E> {
        let error = E::custom(&refusal);
        *self.found = Some(refusal);
        Err(error)
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.enter()?;
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if keys.contains(&key) {
                return self.refuse(Refusal::DuplicateKey { key });
            }
            keys.insert(key);
            entries.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(), Refusal>) {
        assert_eq!(check_shape(json.as_bytes()), expected, "{json}");
    }

    #[test]
    fn one_value_bounded_and_without_doubles() {
        check(r#"{"a":[1,-1,1.5,"x",true,null],"b":{"a":{}}}"#, Ok(()));
        check(r#"{"a":1,"a":2}"#, Err(Refusal::DuplicateKey { key: "a".into() }));
        check(r#"{"x":[{"a":1,"\u0061":2}]}"#, Err(Refusal::DuplicateKey { key: "a".into() }));
        check(r#"{"a":1} x"#, Err(Refusal::TrailingBytes { bytes: 2 }));
        check(r#"{"a":"#, Err(Refusal::Truncated { bytes: 5 }));
        check("", Err(Refusal::Truncated { bytes: 0 }));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(limits::JSON_DEPTH), Ok(()));
        check(&nested(limits::JSON_DEPTH + 1), Err(Refusal::TooDeep { limit: limits::JSON_DEPTH }));
    }
}
