//! Fleets and policies that chance makes, and a world in which moves are carried out.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use repave_controller::balance::{
    Action, AvailableImage, Decision, Failure, Fleet, Hardware, HardwareId, ImageFailures,
    LoadMilli, Phase, Server, TypeId, balance,
};
use repave_controller::policy::Policy;
use repave_protocol::ServerId;

pub(crate) const NOW_MS: u64 = 10_000_000;
pub(crate) const TYPES: usize = 4;

/// An id that only `number` has.
pub(crate) fn id(number: usize) -> ServerId {
    format!("{number:064x}").parse().unwrap()
}

/// A policy of four types from a few numbers each: min, more to wanted, more to max, priority.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let one = (0..4_u32, 0..4_u32, 0..3_u32, 0..3_u32, any::<bool>(), any::<bool>());
    let types = prop::collection::vec(one, TYPES);
    (types, 1..6_u32, 1..4_u32, prop_oneof![Just(0.3), Just(1.0)]).prop_map(
        |(types, concurrency, failures, freeze)| {
            let mut text = format!(
                "[pool]\nname='demo'\nconcurrency={concurrency}\nfreeze_share={freeze}\n\
                 failure_budget.failures={failures}\n"
            );
            for (number, (min, more, room, priority, guarded, load)) in types.iter().enumerate() {
                let data = if *guarded { "guarded" } else { "disposable" };
                let min = if *load { (*min).max(1) } else { *min };
                let max = min + more + room;
                text += &format!(
                    "[[type]]\nname='t{number}'\nimage='t{number}:stable'\nmin={min}\n\
                     max={max}\npriority={priority}\ndata='{data}'\nrequires.ram_mib={}\n",
                    number * 1000
                );
                text += &if *load {
                    "load={measure='cpu',target=0.7}\n".into()
                } else {
                    format!("wanted={}\n", min + more)
                };
            }
            let policy = Policy::from_toml(&text).unwrap();
            assert_eq!(policy.check(), []);
            policy
        },
    )
}

/// One server: phase, type, pin, hardware, version, load, age, and a number for rare flags.
type Traits = (u8, usize, u8, u32, u64, u32, u64, u8);

fn server(number: usize, traits: &Traits) -> Server {
    let (phase, of, pin, hardware, version, load, age_s, rare) = *traits;
    let phase = match phase {
        0..=2 => Phase::Spare,
        3..=4 => Phase::Moving,
        5..=10 => Phase::Up,
        11 => Phase::Silent,
        12 => Phase::Failed,
        13 => Phase::Pending,
        _ => Phase::Unusable,
    };
    let idle = matches!(phase, Phase::Spare | Phase::Failed | Phase::Pending);
    let server_type = (!idle || rare == 0).then_some(TypeId(of as u16));
    Server {
        id: id(number),
        since_ms: NOW_MS - age_s * 1000,
        version: server_type.map(|_| version),
        server_type,
        pinned: (usize::from(pin) < TYPES).then_some(TypeId(pin.into())),
        hardware: HardwareId(hardware),
        load: (rare != 1).then_some(LoadMilli { cpu: load, ..LoadMilli::default() }),
        phase,
        guarded: rare == 2,
        cordoned: rare == 3,
    }
}

/// A fleet in any state, for `policy`.
pub(crate) fn fleet(policy: &Policy) -> impl Strategy<Value = Fleet> + use<> {
    let empty = Fleet::new(policy);
    let traits = (
        0..15_u8,
        0..TYPES,
        0..40_u8,
        0..TYPES as u32,
        1..3_u64,
        0..1500_u32,
        0..2000_u64,
        0..20_u8,
    );
    let servers = prop::collection::vec(traits, 0..40);
    let image_failures = prop::collection::vec((0..40_u32, 0..TYPES as u16, 1..5_u32), 0..10);
    let failures = prop::collection::vec((0..TYPES as u16, 0..8000_u64), 0..3);
    (servers, image_failures, failures, 0..20_u8).prop_map(
        move |(servers, image_failures, failures, paused)| {
            let mut fleet = empty.clone();
            fleet.servers =
                servers.iter().enumerate().map(|(n, traits)| server(n, traits)).collect();
            fleet.hardware = (0..TYPES as u64).map(hardware).collect();
            for known in &mut fleet.types {
                known.image = Some(AvailableImage { version: 2, previous: Some(1) });
            }
            let pair = |&(server, of, failures): &(u32, u16, u32)| ImageFailures {
                server,
                server_type: TypeId(of),
                version: 2,
                failures,
            };
            fleet.image_failures = image_failures.iter().map(pair).collect();
            let failure = |&(of, age_s): &(u16, u64)| Failure {
                at_ms: NOW_MS - age_s * 1000,
                first_at_ms: NOW_MS - age_s * 1000,
                server_type: TypeId(of),
                version: 2,
            };
            fleet.failures = failures.iter().map(failure).collect();
            fleet.paused = paused == 0;
            fleet
        },
    )
}

/// Hardware that meets the first `number` + 1 types.
fn hardware(number: u64) -> Hardware {
    Hardware { ram_mib: number * 1000, architecture: "amd64".into(), ..Hardware::default() }
}

/// A policy and a fleet for it.
pub(crate) fn policy_and_fleet() -> impl Strategy<Value = (Policy, Fleet)> {
    policy().prop_flat_map(|policy| {
        let fleets = fleet(&policy);
        (Just(policy), fleets)
    })
}

/// Carries the moves of `decision` out: each server is moving after it.
pub(crate) fn begin(fleet: &mut Fleet, decision: &Decision, now_ms: u64) {
    fleet.memory = decision.memory.clone();
    for step in &decision.moves {
        let server = &mut fleet.servers[step.index as usize];
        server.phase = Phase::Moving;
        server.since_ms = now_ms;
        (server.server_type, server.version) = match step.action {
            Action::Purpose { to, version } => (Some(to), Some(version)),
            Action::Release => (None, None),
        };
    }
}

/// Ends every move well.
pub(crate) fn finish(fleet: &mut Fleet, now_ms: u64) {
    for server in &mut fleet.servers {
        if server.phase == Phase::Moving {
            server.phase = if server.server_type.is_some() { Phase::Up } else { Phase::Spare };
            server.since_ms = now_ms;
        }
    }
}

/// Rounds without a move after which a fleet is taken to be at rest: longer than any patience.
const QUIET_ROUNDS: usize = 3;

/// Balances and carries out until a few rounds move nothing; gives how many rounds moved or waited
/// before that, and the time. What each type has to do stays the same, whoever shares it.
pub(crate) fn settle(
    fleet: &mut Fleet,
    policy: &Policy,
    mut now_ms: u64,
    most: usize,
) -> (usize, u64) {
    let is_up = |server: &&mut Server| server.phase == Phase::Up;
    let mut demand = [0_u64; TYPES];
    for server in fleet.servers.iter_mut().filter(is_up) {
        let load = server.load.map_or(0, |load| load.cpu);
        demand[server.server_type.unwrap().index()] += u64::from(load);
    }
    let mut last_move = 0;
    for round in 1..=most {
        let mut sharers = [0_u64; TYPES];
        for server in fleet.servers.iter_mut().filter(is_up) {
            sharers[server.server_type.unwrap().index()] += 1;
        }
        for server in fleet.servers.iter_mut().filter(is_up) {
            let id = server.server_type.unwrap().index();
            let cpu = (demand[id] / sharers[id]) as u32;
            server.load = Some(LoadMilli { cpu, ..LoadMilli::default() });
        }
        let decision = balance(fleet, policy, now_ms);
        begin(fleet, &decision, now_ms);
        if !decision.moves.is_empty() {
            last_move = round;
        } else if round - last_move >= QUIET_ROUNDS {
            return (last_move, now_ms);
        }
        // Long enough for every wave to settle.
        now_ms += 400_000;
        finish(fleet, now_ms);
        now_ms += 400_000;
    }
    (most, now_ms)
}

/// A server that is up with the newest version.
pub(crate) fn up(number: usize, of: u16, load: u32) -> Server {
    let traits = (5, usize::from(of), 99, 3, 2, load, 1000, 9);
    server(number, &traits)
}

/// A spare server.
pub(crate) fn spare(number: usize) -> Server {
    server(number, &(0, 0, 99, 3, 2, 0, 1000, 9))
}
