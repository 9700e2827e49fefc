//! What people may call servers, and which labels they may give them. Both stand in templates, in
//! lists on terminals and in metrics of others, so they are kept plain.

use std::collections::BTreeMap;

use super::ControlError;

/// Longest name of a server, in bytes: a host name's.
const NAME_BYTES: usize = 63;
/// Most labels of a server; a type can require no more.
const LABELS: usize = crate::policy::limits::LABELS;
/// Longest label or value, in bytes; a type can require no longer ones.
const LABEL_BYTES: usize = crate::policy::limits::LABEL_BYTES;

/// Longest note, in bytes: a line.
const NOTE_BYTES: usize = 256;

/// Checks why somebody put a hand on a server.
pub(super) fn check_note(note: Option<&str>) -> Result<(), ControlError> {
    let Some(note) = note else { return Ok(()) };
    if note.len() <= NOTE_BYTES && !note.trim().is_empty() && !note.chars().any(char::is_control) {
        return Ok(());
    }
    refused(format!(
        "{:?} is no note: 1 to {NOTE_BYTES} bytes of a single line, not blank",
        shown(note)
    ))
}

/// Checks what somebody says of a server.
pub(super) fn check(
    name: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<(), ControlError> {
    name.map_or(Ok(()), check_name)?;
    if labels.len() > LABELS {
        let found = labels.len();
        return refused(format!("{found} labels are too many; a server has {LABELS} at most"));
    }
    labels.iter().try_for_each(|(label, value)| check_label(label, value))
}

fn check_name(name: &str) -> Result<(), ControlError> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES && name.bytes().all(inside) {
        return Ok(());
    }
    refused(format!(
        "{:?} is no name of a server: 1 to {NAME_BYTES} of a-z, A-Z, 0-9, '-', '.' and '_', the \
         first a letter or digit",
        shown(name)
    ))
}

fn check_label(label: &str, value: &str) -> Result<(), ControlError> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if label.is_empty() || label.len() > LABEL_BYTES || !label.bytes().all(inside) {
        return refused(format!(
            "{:?} is no label: 1 to {LABEL_BYTES} of a-z, A-Z, 0-9, '-', '.', '_' and '/'",
            shown(label)
        ));
    }
    if value.len() > LABEL_BYTES || value.chars().any(char::is_control) {
        return refused(format!(
            "label {label:?} has value {:?}; a value is {LABEL_BYTES} bytes at most, without \
             control characters",
            shown(value)
        ));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(NAME_BYTES).collect()
}

fn refused(why: String) -> Result<(), ControlError> {
    Err(ControlError::Refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(label: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(label.into(), value.into())])
    }

    #[test]
    fn a_note_is_one_line() {
        assert!(check_note(None).is_ok() && check_note(Some("Lüfter laut, 3. Reihe")).is_ok());
        for note in ["", "  ", "a\nb", "\u{1b}[2J", &"n".repeat(257)] {
            assert!(check_note(Some(note)).is_err(), "{note:?}");
        }
    }

    #[test]
    fn names_and_labels_are_plain() {
        let none = BTreeMap::new();
        assert!(check(Some("web-7.rack_3"), &labels("site/rack", "Höhe 3")).is_ok());
        for name in ["", "-web", "web 7", "web\n", &"w".repeat(64)] {
            assert!(check(Some(name), &none).is_err(), "{name:?}");
        }
        for label in ["", "a b", "ü", &"w".repeat(129)] {
            assert!(check(None, &labels(label, "")).is_err(), "{label:?}");
        }
        assert!(check(None, &labels("a", "b\0")).is_err());
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(check(None, &many).unwrap_err().to_string().contains("64 at most"));
    }
}
