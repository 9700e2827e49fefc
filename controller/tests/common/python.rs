//! A Python with what a requirements file pins, installed by `venv.sh` on first use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Python of the requirements in the folder `of` of these tests.
pub(crate) fn python(of: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let output = Command::new(tests.join("common/venv.sh"))
        .arg(tests.join(of).join("requirements.txt"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "venv.sh failed");
    String::from_utf8(output.stdout).unwrap().trim().into()
}
