//! `repave` run by a test.

use std::process::Command;

/// Runs a command; checks its exit code and a part of what it prints there.
pub(crate) fn check(mut command: Command, code: i32, printed: &str) -> String {
    let output = command.output().unwrap();
    let (out, errors) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (out, errors) = (out.unwrap(), errors.unwrap());
    assert_eq!(output.status.code(), Some(code), "{command:?}: {out}{errors}");
    let text = if code == 0 { out } else { errors };
    assert!(text.contains(printed), "{command:?}: {text}");
    text
}
