//! Answers that the agent must refuse, given to the real one.

use anyhow::{Context, Result};
use repave_controller_stub::{Answer, Scenario};
use repave_vm::{Lab, TargetImage, say};

#[test]
fn hostile_answers_are_refused_by_name_and_change_nothing() -> Result<()> {
    let cases = [
        (Answer::Forged, "unknown-key"),
        (Answer::Stale, "other-nonce"),
        (Answer::OtherNonce, "other-nonce"),
        (Answer::OtherServer, "other-server"),
        (Answer::OtherPool, "other-pool"),
        (Answer::UnknownCritical, "unknown-critical"),
        (Answer::LowerGeneration, "lower-generation"),
        (Answer::ReusedGeneration, "reused-generation"),
        (Answer::Raw(b"{\"payload\":".to_vec()), "truncated"),
        (Answer::Raw(b"<html>Please log in.</html>".to_vec()), "malformed"),
    ];
    let lab = Lab::new("hostile", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec("hostile")?)?;
    server.disk()?.mark_target(64)?;
    let untouched = server.disk()?.target()?;
    server.power_on()?;
    server.first_status()?;
    let answers: Vec<Answer> = cases.iter().map(|(answer, _)| answer.clone()).collect();
    let faults = server.try_answers(&answers, Some(lab.order(&tiny)))?;
    for ((answer, code), fault) in cases.iter().zip(faults) {
        let fault = fault.with_context(|| format!("{answer:?} was not refused"))?;
        assert_eq!(fault.code, *code, "{answer:?}: {}", fault.message);
    }
    assert_eq!(server.disk()?.target()?, untouched, "no target byte changed");
    assert_eq!(server.variables()?.boot_next(), None);

    // None of them did harm: an honest order is still obeyed.
    server.running()?.reset()?;
    server.first_status()?;
    server.up("tiny")?;
    say(&server.figures()?.to_string());
    lab.finish()
}
