//! Every input that a fuzzer found worth keeping goes through its target again, on the compiler that
//! everything else is built with. A target that fails here fails without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use repave_fuzz::TARGETS;

/// Fewest inputs of a corpus that is more than its seeds.
const INPUTS: usize = 20;
/// Most bytes of all corpora, so that the repository stays small.
const BYTES: u64 = 2 << 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_kept_input_still_holds() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(inputs.len() >= INPUTS, "{name} has {} inputs", inputs.len());
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            assert!(catch_unwind(|| target(&bytes)).is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn every_corpus_has_a_target_and_all_are_small() {
    let mut bytes = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is no target");
        bytes += inputs(&name).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= BYTES, "{bytes} bytes of corpora");
}

/// Without inputs, a target must not take the empty one for an error either.
#[test]
fn nothing_at_all_is_an_input_too() {
    for (name, target) in TARGETS {
        assert!(catch_unwind(|| target(&[])).is_ok(), "{name}");
    }
}

/// A program of the fuzzer for each target.
#[test]
fn the_fuzzer_has_a_program_for_every_target() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/targets");
    let mut programs: Vec<String> = fs::read_dir(engine)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort();
    assert_eq!(programs, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
