//! What servers and virtual machines logged, lived again: every file in `dumps/` is a field log that
//! somebody pasted there (docs/simulator.md, "From the field to a test").

use std::fs;
use std::path::Path;

use repave_sim::replay::replay;

/// Largest dump that is kept in the tree, in bytes; more of a log than a test needs.
const DUMP_BYTES: usize = 64 * 1024;

#[test]
fn every_dump_is_lived_again() {
    repave_sim::campaign::hush_simulated_panics();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dumps");
    let mut lived = 0;
    for file in fs::read_dir(&folder).expect("the folder of dumps is in the tree") {
        let path = file.expect("it can be listed").path();
        let name = path.display();
        let dump = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(dump.len() <= DUMP_BYTES, "{name}: {} of {DUMP_BYTES} bytes", dump.len());
        let replayed = replay(&dump).unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
        assert_eq!(replayed.events, dump.lines().count(), "{name}: lines that are no events");
        lived += 1;
    }
    assert!(lived > 0, "there is no dump in {}", folder.display());
}
