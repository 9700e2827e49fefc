//! How long one round of the balancer takes for 100,000 servers of ten types: median and worst of
//! twenty runs, in a fleet at rest and in ones with much to move. It runs on one thread.

use std::time::Instant;

use repave_controller::balance::{
    AvailableImage, Fleet, Hardware, HardwareId, LoadMilli, Phase, Server, TypeId, balance,
};
use repave_controller::policy::Policy;

pub(crate) const SERVERS: u32 = 100_000;
pub(crate) const TYPES: u32 = 10;
const RUNS: usize = 20;
const NOW_MS: u64 = 1_000_000_000;

fn policy(wanted: u32) -> Policy {
    let mut text = "[pool]\nname='bench'\nconcurrency=1000\n".to_string();
    for number in 0..TYPES {
        let wish = if number % 2 == 0 {
            "load={measure='cpu',target=0.7}".into()
        } else {
            format!("wanted={wanted}")
        };
        text += &format!(
            "[[type]]\nname='t{number}'\nimage='t{number}:stable'\nmin=100\nmax=50000\n\
             priority={number}\nrequires={{ram_mib={},labels={{rack='r1'}}}}\n{wish}\n",
            number * 100
        );
    }
    Policy::from_toml(&text).expect("the bench's policy is in order")
}

fn fleet(policy: &Policy, version: u64) -> Fleet {
    let mut fleet = Fleet::new(policy);
    for known in &mut fleet.types {
        known.image = Some(AvailableImage { version, previous: Some(1) });
    }
    let hardware = |number| Hardware {
        labels: [("rack".to_string(), format!("r{}", number % 8))].into(),
        ram_mib: 4096,
        disk_mib: 8192,
        architecture: "amd64".into(),
    };
    fleet.hardware = (0..1000).map(hardware).collect();
    let server = |number: u32| {
        let spare = number.is_multiple_of(10);
        Server {
            id: format!("{number:064x}").parse().expect("64 digits"),
            since_ms: 0,
            version: (!spare).then_some(1),
            server_type: (!spare).then_some(TypeId((number / 10 % TYPES) as u16)),
            pinned: None,
            hardware: HardwareId(number % 1000),
            load: Some(LoadMilli { cpu: 650 + number % 100, load_average: 1000, memory: 500 }),
            phase: if spare { Phase::Spare } else { Phase::Up },
            guarded: false,
            cordoned: number.is_multiple_of(1000),
        }
    };
    fleet.servers = (0..SERVERS).map(server).collect();
    fleet
}

/// One fleet's rounds, in microseconds, fastest first.
pub(crate) struct Rounds {
    pub(crate) name: &'static str,
    pub(crate) moves: usize,
    pub(crate) times_us: Vec<u128>,
}

impl Rounds {
    pub(crate) fn median_ms(&self) -> f64 {
        self.times_us[RUNS / 2] as f64 / 1000.0
    }

    pub(crate) fn worst_ms(&self) -> f64 {
        self.times_us[RUNS - 1] as f64 / 1000.0
    }
}

fn measure(name: &'static str, fleet: &Fleet, policy: &Policy) -> Rounds {
    let mut moves = 0;
    let mut times_us: Vec<u128> = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            moves = balance(fleet, policy, NOW_MS).moves.len();
            begin.elapsed().as_micros()
        })
        .collect();
    times_us.sort_unstable();
    Rounds { name, moves, times_us }
}

/// Measures them all.
pub(crate) fn all() -> Vec<Rounds> {
    let rest = policy(9000);
    let growing = policy(20_000);
    let shrinking = policy(5000);
    // Every server is hardware of its own, nothing is left, and every type is short.
    let mut motley = fleet(&growing, 1);
    motley.hardware = motley.servers.iter().map(|_| motley.hardware[1].clone()).collect();
    for (number, server) in (0..).zip(&mut motley.servers) {
        server.hardware = HardwareId(number);
    }
    vec![
        measure("at rest", &fleet(&rest, 1), &rest),
        measure("growing", &fleet(&growing, 1), &growing),
        measure("shrinking", &fleet(&shrinking, 1), &shrinking),
        measure("motley", &motley, &growing),
        measure("rollout", &fleet(&rest, 2), &rest),
    ]
}
