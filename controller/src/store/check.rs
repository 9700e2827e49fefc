//! What is judged without a database: whether a commit is of an allowed form, and whether the
//! revisions that were found are those that its writer had read. Both databases ask here.

use std::collections::{HashMap, HashSet};

use super::changes::{Changes, Expected, Key};
use super::error::StoreError;
use super::limits;

/// Which rows a commit touches, and what it expects of each.
pub(super) fn expectations(changes: &Changes) -> Vec<(Key, Expected)> {
    let mut all = Vec::with_capacity(changes.rows());
    let revision =
        |expected: Option<i64>| expected.map_or(Expected::MustNotExist, Expected::Exactly);
    all.extend(changes.servers.iter().map(|put| (Key::Server(put.id), revision(put.expected))));
    all.extend(changes.server_deletes.iter().map(|gone| (Key::Server(gone.id), gone.expected)));
    let document =
        |kind: &String, key: &String| Key::Document { kind: kind.clone(), key: key.clone() };
    all.extend(changes.documents.iter().map(|put| (document(&put.kind, &put.key), put.expected)));
    all.extend(
        changes
            .document_deletes
            .iter()
            .map(|gone| (document(&gone.kind, &gone.key), gone.expected)),
    );
    all
}

/// Refuses a commit that is too large or changes a row twice.
pub(super) fn form(changes: &Changes, touched: &[(Key, Expected)]) -> Result<(), StoreError> {
    within("a commit (in rows)", changes.rows(), limits::COMMIT_ROWS)?;
    let mut seen = HashSet::with_capacity(touched.len());
    for (key, _) in touched {
        if let Key::Document { kind, key: name } = key {
            text(|| "a document's kind".into(), kind, limits::NAME_BYTES)?;
            text(|| format!("the key of a {kind}"), name, limits::KEY_BYTES)?;
        }
        if !seen.insert(key) {
            return Err(StoreError::Twice { key: key.clone() });
        }
    }
    for put in &changes.servers {
        text(|| "a standing".into(), &put.standing, limits::NAME_BYTES)?;
        text(
            || "a server type".into(),
            put.server_type.as_deref().unwrap_or(""),
            limits::NAME_BYTES,
        )?;
        text(|| format!("the document of server {}", put.id), &put.doc, limits::DOC_BYTES)?;
    }
    for put in &changes.documents {
        text(|| format!("{} {:?}", put.kind, put.key), &put.doc, limits::DOC_BYTES)?;
    }
    for event in &changes.events {
        text(|| "an event's kind".into(), &event.kind, limits::NAME_BYTES)?;
        text(
            || "an event's actor".into(),
            event.actor.as_deref().unwrap_or(""),
            limits::KEY_BYTES,
        )?;
        text(|| format!("a {} event", event.kind), &event.doc, limits::DOC_BYTES)?;
    }
    within("a commit (in bytes)", document_bytes(changes), limits::COMMIT_BYTES)
}

fn document_bytes(changes: &Changes) -> usize {
    let servers = changes.servers.iter().map(|put| put.doc.len());
    let documents = changes.documents.iter().map(|put| put.doc.len());
    servers.chain(documents).chain(changes.events.iter().map(|event| event.doc.len())).sum()
}

fn within(what: &str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge { what: what.into(), size, limit })
}

fn text(what: impl Fn() -> String, text: &str, limit: usize) -> Result<(), StoreError> {
    if text.len() > limit {
        return within(&what(), text.len(), limit);
    }
    if text.as_bytes().contains(&0) {
        return Err(StoreError::ZeroByte { what: what() });
    }
    Ok(())
}

/// Compares what is expected with the revisions that were found; the first that differs is the
/// conflict.
pub(super) fn revisions(
    touched: &[(Key, Expected)],
    found: &HashMap<Key, i64>,
) -> Result<(), StoreError> {
    for (key, expected) in touched {
        let found = found.get(key).copied();
        let fits = match *expected {
            Expected::Any => true,
            Expected::MustNotExist => found.is_none(),
            Expected::Exactly(revision) => found == Some(revision),
        };
        if !fits {
            return Err(StoreError::Conflict { key: key.clone(), expected: *expected, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::changes::{DocumentDelete, DocumentPut};

    fn put(key: &str, doc: &str) -> Changes {
        Changes {
            documents: vec![DocumentPut {
                kind: "policy".into(),
                key: key.into(),
                expected: Expected::Any,
                expires_at_ms: None,
                doc: doc.into(),
            }],
            ..Changes::default()
        }
    }

    fn judged(changes: &Changes) -> Result<(), StoreError> {
        form(changes, &expectations(changes))
    }

    #[test]
    fn a_row_stands_once_in_a_commit() {
        let mut changes = put("a", "{}");
        judged(&changes).unwrap();
        changes.document_deletes.push(DocumentDelete {
            kind: "policy".into(),
            key: "a".into(),
            expected: Expected::Any,
        });
        assert!(matches!(judged(&changes), Err(StoreError::Twice { .. })));
    }

    #[test]
    fn sizes_end_where_they_are_said_to_end() {
        judged(&put("a", &"x".repeat(limits::DOC_BYTES))).unwrap();
        judged(&put(&"k".repeat(limits::KEY_BYTES), "{}")).unwrap();
        let large = [put("a", &"x".repeat(limits::DOC_BYTES + 1)), put(&"k".repeat(513), "{}")];
        for changes in large {
            assert!(matches!(judged(&changes), Err(StoreError::TooLarge { .. })));
        }
        assert!(matches!(judged(&put("a", "{\0}")), Err(StoreError::ZeroByte { .. })));
    }

    #[test]
    fn an_expectation_is_met_or_named() {
        let key = Key::Document { kind: "policy".into(), key: "a".into() };
        let cases = [
            (Expected::Any, None, true),
            (Expected::Any, Some(1), true),
            (Expected::MustNotExist, None, true),
            (Expected::MustNotExist, Some(1), false),
            (Expected::Exactly(1), Some(1), true),
            (Expected::Exactly(1), Some(2), false),
            (Expected::Exactly(1), None, false),
        ];
        for (expected, found, fits) in cases {
            let there = found.map(|revision| (key.clone(), revision)).into_iter().collect();
            let result = revisions(&[(key.clone(), expected)], &there);
            assert_eq!(result.is_ok(), fits, "{expected} {found:?}");
        }
    }
}
