use repave_sim::replay::replay;
use repave_sim::{Fault, swarm};

#[test]
fn try_seeds() {
    repave_sim::campaign::hush_simulated_panics();
    let (mut good, mut bad) = (0, 0);
    for seed in 0..100 {
        let run = swarm::run(seed);
        let silent = [Fault::DiskReadRots, Fault::DiskWriteMisdirected];
        if silent.iter().any(|fault| run.struck.contains_key(fault)) || run.violation.is_some() {
            continue;
        }
        match replay(&run.events.join("\n")) {
            Ok(_) => good += 1,
            Err(trouble) => {
                bad += 1;
                println!("seed {seed}: {trouble}");
                println!("   {:?}", run.struck.keys().collect::<Vec<_>>());
            }
        }
    }
    println!("{good} good {bad} bad");
}
