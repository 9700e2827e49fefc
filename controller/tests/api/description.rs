//! The API's description: what is committed is what the handlers say, and what the handlers do is
//! what the description says, as far as Schemathesis finds out in a minute.

use std::path::Path;
use std::process::Command;

use crate::daemon::Daemon;
use crate::python::python;

/// Set by `make openapi`.
const WRITE: &str = "REPAVE_WRITE_OPENAPI";

#[test]
fn the_description_that_is_committed_is_that_of_the_handlers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let document = repave_controller::api::document();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == document, "docs/openapi.json is not what it should be: make openapi");
}

#[test]
fn no_request_that_the_description_allows_is_a_fault_of_ours() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    daemon.ask(&format!("POST /v1/servers/{id}/approve")).expect(200);
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new(python("api"))
        .args(["-m", "schemathesis.cli", "run", &daemon.url("/openapi.json")])
        .args(["--checks", "not_a_server_error,content_type_conformance"])
        .args(["--max-examples", "10", "--max-time", "45", "--phases", "examples,coverage,fuzzing"])
        // It never ends by itself; its own tests open it.
        .args(["--exclude-path", "/v1/events/stream"])
        .args(["--generation-deterministic", "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", daemon.admin)])
        .arg("--tls-verify")
        .arg(daemon.ca())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let erred = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}\n{erred}");
}
