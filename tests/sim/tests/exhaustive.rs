//! Power cut at every effect, with every fate of unflushed writes, and a failure at every call.

#![allow(clippy::print_stdout, reason = "a test says how much it tried")]

use repave_sim::exhaustive::{self, Scenario};

#[test]
fn every_instant_of_every_purposing_leads_to_its_target() {
    for scenario in Scenario::all() {
        let account = exhaustive::run(&scenario);
        println!("{}: {account}", scenario.name);
        assert!(account.effects > 30 && account.resumed > 0, "{account}");
        assert_eq!(account.failures.first(), None, "{account}");
    }
}
