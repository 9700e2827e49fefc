//! Single scenes: what is moved, and in which words.

use repave_controller::balance::{
    Action, AvailableImage, Decision, Failure, Fleet, Hardware, Memory, Phase, Server, TypeId,
    balance,
};
use repave_controller::policy::Policy;

use crate::world::{NOW_MS, begin, finish, settle, spare, up};

const POOL: &str = "[pool]\nname='demo'\nconcurrency=4\n";
const WEB: &str = "[[type]]\nname='web'\nimage='web:stable'\nmax=20\npriority=10\n";
const DB: &str = "[[type]]\nname='db'\nimage='db:stable'\nmax=20\n";
const LOAD: &str = "min=1\nload={measure='cpu',target=0.7}\n";

fn scene(policy: &str, servers: Vec<Server>) -> (Policy, Fleet) {
    let policy = Policy::from_toml(&format!("{POOL}{policy}")).unwrap();
    assert_eq!(policy.check(), []);
    let mut fleet = Fleet::new(&policy);
    fleet.hardware = (0..4).map(|_| Hardware::default()).collect();
    for known in &mut fleet.types {
        known.image = Some(AvailableImage { version: 2, previous: Some(1) });
    }
    fleet.servers = servers;
    (policy, fleet)
}

/// What a decision says, in lines.
fn words(decision: &Decision) -> String {
    let moves = decision.moves.iter().map(|step| step.why.clone());
    let notes = decision.notes.iter().map(|note| note.to_string());
    moves.chain(notes).collect::<Vec<_>>().join("\n")
}

fn check(policy: &str, servers: Vec<Server>, expected: &str) -> Decision {
    let (policy, fleet) = scene(policy, servers);
    let decision = balance(&fleet, &policy, NOW_MS);
    let found = words(&decision);
    assert!(found.contains(expected), "{found}");
    decision
}

#[test]
fn a_move_says_why_with_figures() {
    let types = format!("{WEB}min=0\nwanted=3\n");
    check(&types, vec![up(0, 0, 0), up(1, 0, 0), spare(2)], "web wants 3 and has 2; takes spare 0");
    let types = format!("{WEB}min=0\nwanted=1\n{DB}wanted=1\n");
    let moves = "db wants 1 and has 0; takes 000000000000 from web, which has 2 and wants 1";
    check(&types, vec![up(0, 0, 5), up(1, 0, 9)], moves);
    let surplus = "web wants 1 and has 2; 000000000000 becomes spare";
    check(&format!("{WEB}min=0\nwanted=1\n"), vec![up(0, 0, 5), up(1, 0, 9)], surplus);
}

#[test]
fn a_note_says_why_not() {
    let web = format!("{WEB}min=0\nwanted=3\n");
    check(&web, vec![], "short of servers: web wants 3 and has 0; no server is free");
    let picky = format!("{web}requires.ram_mib=4096\nrequires.labels.rack='r1'\n");
    check(&picky, vec![spare(0)], "of the free ones ram of 4096 MiB excludes 1");
    let cordoned = Server { cordoned: true, ..spare(0) };
    check(&web, vec![cordoned], "cordon excludes 1");
    let silent = |n| Server { phase: Phase::Silent, since_ms: 0, ..up(n, 0, 0) };
    check(
        &web,
        vec![silent(0), silent(1), spare(2)],
        "frozen: 2 of 3 servers (67 %) are silent, more than 30 %",
    );
    check(&web, (0..9).map(spare).collect(), "web wants 3 and has 2");
    let many = format!("{WEB}min=0\nwanted=9\n");
    check(&many, (0..9).map(spare).collect(), "concurrency reached: 4 servers are moving, 4 may");
}

#[test]
fn a_used_up_budget_says_until_when() {
    let (policy, mut fleet) = scene(&format!("{WEB}min=0\nwanted=1\n"), vec![spare(0)]);
    let failure = |ago_s: u64| Failure {
        at_ms: NOW_MS - ago_s * 1000,
        first_at_ms: 0,
        server_type: TypeId(0),
        version: 2,
    };
    fleet.failures = [600, 500, 400, 300, 200].map(failure).into();
    let decision = balance(&fleet, &policy, NOW_MS);
    assert!(decision.moves.is_empty());
    assert!(words(&decision).contains("for another 3000 s"), "{}", words(&decision));
    assert!(balance(&fleet, &policy, NOW_MS + 2_999_999).moves.is_empty());
    assert_eq!(balance(&fleet, &policy, NOW_MS + 3_000_000).moves.len(), 1);
}

#[test]
fn priorities_take_but_never_under_min() {
    let types = format!("{WEB}min=0\nwanted=6\n{DB}min=1\nwanted=3\n");
    let (policy, mut fleet) = scene(&types, (0..3).map(|n| up(n, 1, 0)).collect());
    settle(&mut fleet, &policy, NOW_MS, 20);
    let of = |id| fleet.servers.iter().filter(|s| s.server_type == Some(TypeId(id))).count();
    assert_eq!((of(0), of(1)), (2, 1));
}

#[test]
fn a_min_is_filled_before_a_wish() {
    let types = format!("{WEB}min=1\nwanted=3\n{DB}min=1\nwanted=1\n");
    let decision = check(&types, (0..3).map(|n| up(n, 0, 0)).collect(), "db wants 1 and has 0");
    assert_eq!(decision.moves.len(), 1);
}

#[test]
fn a_pin_is_obeyed() {
    let pinned = Server { pinned: Some(TypeId(1)), ..up(0, 0, 0) };
    let types = format!("{WEB}min=0\nwanted=1\n{DB}min=0\nwanted=0\n");
    let decision = check(&types, vec![pinned], "is pinned to db");
    assert_eq!(decision.moves[0].action, Action::Purpose { to: TypeId(1), version: 2 });
}

/// Plays `rounds` rounds of a minute with the load that `demand` gives in thousandths of a server,
/// spread over those that are up, and gives what was wanted in each.
fn play(rounds: u64, demand: impl Fn(u64) -> u64) -> Vec<u32> {
    let servers = (0..4).map(|n| up(n, 0, 0)).chain((4..20).map(spare)).collect();
    let (policy, mut fleet) = scene(&format!("{WEB}{LOAD}"), servers);
    let mut wanted = Vec::new();
    for round in 0..rounds {
        let now_ms = NOW_MS + round * 60_000;
        finish(&mut fleet, now_ms);
        let serving = fleet.servers.iter().filter(|s| s.phase == Phase::Up).count() as u64;
        for server in fleet.servers.iter_mut().filter(|s| s.phase == Phase::Up) {
            let cpu = (demand(round) / serving.max(1)) as u32;
            server.load = Some(repave_controller::balance::LoadMilli { cpu, ..Default::default() });
        }
        let decision = balance(&fleet, &policy, now_ms);
        wanted.push(decision.wanted[0].wanted);
        begin(&mut fleet, &decision, now_ms);
    }
    wanted
}

#[test]
fn load_grows_soon_and_shrinks_late() {
    // 5.6 servers' worth is 8 at 70 %; from round 30 on it is 1.4, which is 2.
    let wanted = play(90, |round| if round < 30 { 5_600 } else { 1_400 });
    assert_eq!(wanted[0], 4, "patience");
    assert_eq!(wanted[5], 8);
    assert_eq!(wanted[40], 8, "a fall waits for 15 minutes");
    assert_eq!(wanted[89], 2);
}

#[test]
fn a_change_is_followed_by_a_pause() {
    let load = LOAD.replace("0.7}", "0.7,stabilise_up_s=0,cool_down_s=300}");
    let (policy, mut fleet) = scene(&format!("{WEB}{load}"), vec![up(0, 0, 1400)]);
    fleet.memory = remembered(1);
    let mut wanted_at = |load: u32, after_s: u64| {
        fleet.servers[0] = up(0, 0, load);
        let decision = balance(&fleet, &policy, NOW_MS + after_s * 1000);
        fleet.memory = decision.memory;
        decision.wanted[0].wanted
    };
    assert_eq!(wanted_at(1400, 0), 2);
    assert_eq!(wanted_at(2800, 299), 2);
    assert_eq!(wanted_at(2800, 300), 4);
}

#[test]
fn noise_does_not_flap() {
    for base in [2_000, 2_800, 3_500, 4_300, 7_100] {
        let wanted = play(600, |round| base + base * (round * 7919 % 81) / 1000 - base * 40 / 1000);
        let turns = wanted[30..].windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(turns, 0, "{base}: {wanted:?}");
    }
}

#[test]
fn booting_servers_are_no_idle_load() {
    let moving = |n| Server { phase: Phase::Moving, ..up(n, 0, 0) };
    let (policy, mut fleet) =
        scene(&format!("{WEB}{LOAD}"), vec![up(0, 0, 300), up(1, 0, 300), moving(2), moving(3)]);
    fleet.memory = remembered(4);
    // 0.6 of load on two servers asks for one, and the two that boot carry their share.
    assert_eq!(balance(&fleet, &policy, NOW_MS).wanted[0].wanted, 3);
}

fn remembered(wanted: u32) -> Memory {
    let mut memory = Memory::default();
    memory.types.entry("web".into()).or_default().wanted = Some(wanted);
    memory
}

#[test]
fn one_that_comes_back_is_not_purposed_again() {
    let web = format!("{WEB}min=0\nwanted=4\n");
    let (policy, mut fleet) = scene(&web, (0..4).map(|n| up(n, 0, 0)).chain([spare(4)]).collect());
    fleet.servers[0].phase = Phase::Silent;
    fleet.servers[0].since_ms = NOW_MS;
    assert!(balance(&fleet, &policy, NOW_MS + 100_000).moves.is_empty(), "it may come back");
    let decision = balance(&fleet, &policy, NOW_MS + 200_000);
    assert_eq!(decision.moves.len(), 1, "it is replaced");
    begin(&mut fleet, &decision, NOW_MS + 200_000);
    fleet.servers[0].phase = Phase::Up;
    let decision = balance(&fleet, &policy, NOW_MS + 210_000);
    assert!(decision.moves.is_empty(), "back, and its replacement is on its way: {decision:?}");
    finish(&mut fleet, NOW_MS + 300_000);
    let decision = balance(&fleet, &policy, NOW_MS + 300_000);
    assert_eq!(decision.moves[0].action, Action::Release);
}

#[test]
fn a_rollout_has_canary_and_waves() {
    let web = format!("{WEB}min=5\nwanted=10\nrollout={{canary=2,wave_share=0.3,settle_s=100}}\n");
    let old = |n| Server { version: Some(1), ..up(n, 0, 0) };
    let (policy, mut fleet) = scene(&web, (0..10).map(old).collect());
    let mut started = Vec::new();
    for round in 0..12 {
        let now_ms = NOW_MS + round * 200_000;
        finish(&mut fleet, now_ms);
        let decision = balance(&fleet, &policy, now_ms + 150_000);
        started.push(decision.moves.len());
        begin(&mut fleet, &decision, now_ms + 150_000);
    }
    assert_eq!(started, [2, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn one_broken_server_does_not_stop_a_rollout() {
    let old = |n| Server { version: Some(1), ..up(n, 0, 0) };
    let (policy, mut fleet) = scene(&format!("{WEB}min=0\nwanted=5\n"), (0..5).map(old).collect());
    let mut now_ms = NOW_MS;
    let decision = balance(&fleet, &policy, now_ms);
    begin(&mut fleet, &decision, now_ms);
    let first_at_ms = now_ms + 60_000;
    for retry in 1..4 {
        now_ms = NOW_MS + retry * 60_000;
        fleet.failures =
            vec![Failure { at_ms: now_ms, first_at_ms, server_type: TypeId(0), version: 2 }];
        let decision = balance(&fleet, &policy, now_ms);
        assert!(!words(&decision).contains("stopped"), "{retry}: {decision:?}");
        fleet.memory = decision.memory;
    }
    let rollout = fleet.memory.types["web"].rollout.unwrap();
    assert_eq!(rollout.failures, 1);
}

#[test]
fn a_rollout_stops_on_failures_and_says_so() {
    let web = format!("{WEB}min=0\nwanted=5\n");
    let old = |n| Server { version: Some(1), ..up(n, 0, 0) };
    let (policy, mut fleet) = scene(&web, (0..5).map(old).chain([spare(5), spare(6)]).collect());
    let mut now_ms = NOW_MS;
    for _ in 0..2 {
        let decision = balance(&fleet, &policy, now_ms);
        begin(&mut fleet, &decision, now_ms);
        let canary = decision
            .moves
            .iter()
            .find(|step| step.action == Action::Purpose { to: TypeId(0), version: 2 });
        let index = canary.unwrap().index as usize;
        now_ms += 60_000;
        fleet.servers[index] = Server { phase: Phase::Failed, ..spare(index) };
        fleet.failures.push(Failure {
            at_ms: now_ms,
            first_at_ms: now_ms,
            server_type: TypeId(0),
            version: 2,
        });
        finish(&mut fleet, now_ms);
    }
    let decision = balance(&fleet, &policy, now_ms);
    assert!(words(&decision).contains("rollout of web 2 stopped after 2 failures"), "{decision:?}");
    assert!(words(&decision).contains("`repave channel set web:stable 1` goes back"));
    for step in &decision.moves {
        assert_eq!(step.action, Action::Purpose { to: TypeId(0), version: 1 });
    }
    begin(&mut fleet, &decision, now_ms);
    finish(&mut fleet, now_ms);
    let mut restarted = fleet.clone();
    assert!(restarted.memory.restart_rollout("web") && !restarted.memory.restart_rollout("web"));
    let decision = balance(&restarted, &policy, now_ms + 60_000);
    assert!(words(&decision).contains("version 2 as canary"), "{decision:?}");
    // Back at the old version all have what they should, and nothing more is said.
    let mut back = fleet.clone();
    back.types[0].image = Some(AvailableImage { version: 1, previous: Some(2) });
    let decision = balance(&back, &policy, now_ms + 60_000);
    assert!(!words(&decision).contains("rollout"), "{decision:?}");
    // A newer version begins anew, too.
    fleet.types[0].image = Some(AvailableImage { version: 3, previous: Some(1) });
    let decision = balance(&fleet, &policy, now_ms + 60_000);
    assert!(words(&decision).contains("version 3 as canary"), "{decision:?}");
}

#[test]
fn a_rollout_with_none_to_spare_takes_one_more_first() {
    let web = format!("{WEB}min=2\nwanted=2\n");
    let old = |n| Server { version: Some(1), ..up(n, 0, 0) };
    let (policy, mut fleet) = scene(&web, vec![old(0), old(1), spare(2)]);
    let (_, now_ms) = settle(&mut fleet, &policy, NOW_MS, 20);
    let current = |s: &&Server| s.phase == Phase::Up && s.version == Some(2);
    assert_eq!(fleet.servers.iter().filter(current).count(), 2);
    assert!(balance(&fleet, &policy, now_ms).notes.is_empty());
    let tight = web.replace("max=20", "max=2");
    check(&tight, vec![old(0), old(1), spare(2)], "no more are up than its min");
}

#[test]
fn a_guarded_type_gets_the_new_version_on_new_servers_only() {
    let db = format!("{DB}min=0\nwanted=2\ndata='guarded'\n");
    let old = Server { version: Some(1), ..up(0, 0, 0) };
    let decision = check(&db, vec![old, spare(1)], "db wants 2 and has 1");
    assert_eq!(decision.moves.len(), 1);
    let full = db.replace("wanted=2", "wanted=1");
    check(&full, vec![old, spare(1)], "1 servers are outdated: they hold data");
    assert_eq!(decision.moves[0].action, Action::Purpose { to: TypeId(0), version: 2 });
}

#[test]
fn a_type_that_the_policy_no_longer_names_is_left_alone() {
    let (policy, mut fleet) = scene(&format!("{WEB}min=0\nwanted=1\n"), vec![up(0, 1, 0)]);
    fleet.type_id("db");
    let decision = balance(&fleet, &policy, NOW_MS);
    assert!(decision.moves.is_empty());
    assert!(words(&decision).contains("1 servers are db, which the policy does not name"));
}
