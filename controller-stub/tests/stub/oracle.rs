//! Every violation that the oracle knows, each made out of a history without any.

use repave_controller_stub::{Answer, Answered, Breach, Record, oracle};
use repave_protocol::{
    BootMethod, Directive, Generation, Nonce, Order, ServerId, Side, SigningKey, Stage, Standing,
    Status,
};

use crate::bench::{LEAVING, at, pool, purpose, seal_of, up};

/// A history in the making. Each status is what an honest server would say next, but for what the
/// test changes about it.
struct History {
    records: Vec<Record>,
    next: Status,
}

impl History {
    /// A server that reports for the first time and is told to wait.
    fn new() -> Self {
        let status = Status {
            crit: Vec::new(),
            pool: pool(),
            server: ServerId::of(&SigningKey::from_seed(&[1; 32]).public()),
            nonce: Nonce::from_random([0; 32]),
            boot: Nonce::from_random([0; 32]),
            sequence: 0,
            side: Side::Default,
            agent: "history".into(),
            generation: None,
            seal: None,
            wiped: None,
            standing: Standing::Idle,
            log: None,
            bad_sources: Vec::new(),
            uptime_ms: 0,
            watchdog: None,
            inventory: None,
            default_partition: None,
            trust: None,
            join_token: None,
        };
        let mut history = Self { records: Vec::new(), next: status };
        history.say(Standing::Idle);
        history
    }

    /// A server that was ordered to be a `web` under generation 1, and accepted.
    fn ordered() -> Self {
        let mut history = Self::new();
        history.answer(Answer::Genuine, 1, purpose("web"));
        history.next.generation = Some(Generation(1));
        history
    }

    /// The same, with these stages behind it.
    fn reached(stages: &[Stage]) -> Self {
        let mut history = Self::ordered();
        for &stage in stages {
            if stage == Stage::Sealed {
                history.next.seal = Some(seal_of("web", 1));
            }
            history.say(at(stage));
        }
        history
    }

    /// The same, armed and gone for the target.
    fn left() -> Self {
        let mut history = Self::reached(&ALL);
        history.say(LEAVING);
        history.boot(1, Side::Target);
        history
    }

    fn boot(&mut self, number: u8, side: Side) {
        self.next.boot = Nonce::from_random([number; 32]);
        self.next.sequence = 0;
        self.next.side = side;
    }

    fn say(&mut self, standing: Standing) {
        let index = self.records.len();
        self.next.nonce = Nonce::from_random([u8::try_from(index).unwrap(); 32]);
        self.next.standing = standing;
        self.push(self.next.clone());
        self.next.sequence += 1;
    }

    fn push(&mut self, status: Status) {
        self.records.push(Record { index: self.records.len(), at_ms: 0, status, answer: None });
    }

    /// Answers the last status.
    fn answer(&mut self, answer: Answer, generation: u64, order: Order) {
        let record = self.records.last_mut().unwrap();
        record.answer = Some(Answered {
            at_ms: 0,
            answer,
            directive: Some(Directive {
                crit: Vec::new(),
                pool: pool(),
                server: record.status.server,
                nonce: record.status.nonce,
                generation: Generation(generation),
                order,
                trust: None,
            }),
            spoiled: false,
        });
    }

    /// The breaches, all of which are about the last status.
    #[track_caller]
    fn check(&self, expected: &[Breach]) {
        let violations = oracle::check(&self.records);
        for violation in &violations {
            assert_eq!(violation.index, self.records.len() - 1, "{violation}");
        }
        let breaches: Vec<_> = violations.into_iter().map(|found| found.breach).collect();
        assert_eq!(breaches, expected);
    }
}

const ALL: [Stage; 8] = [
    Stage::Accepted,
    Stage::Planned,
    Stage::Unsealed,
    Stage::Written,
    Stage::Audited,
    Stage::Configured,
    Stage::Sealed,
    Stage::Armed,
];

const WAIT: Order = Order::Wait { after_ms: 500 };

fn boot(sealed: u64) -> Order {
    Order::Boot { sealed: Generation(sealed) }
}

#[test]
fn an_honest_life_has_no_breach() {
    let mut history = History::left();
    history.say(up());
    // What the target accepted is not in the journal, so default does not know of it.
    history.answer(Answer::Genuine, 2, WAIT);
    history.boot(2, Side::Default);
    history.say(Standing::Idle);
    history.answer(Answer::Genuine, 3, boot(1));
    history.next.generation = Some(Generation(3));
    history.say(at(Stage::Armed));
    history.say(LEAVING);
    history.boot(3, Side::Target);
    history.say(up());
    history.check(&[]);
}

#[test]
fn a_run_cut_short_may_begin_again() {
    let mut history = History::reached(&ALL[..5]);
    history.boot(1, Side::Default);
    history.say(Standing::Idle);
    history.answer(Answer::Genuine, 1, purpose("web"));
    history.say(at(Stage::Accepted));
    history.check(&[]);
}

#[test]
fn a_target_from_before_this_history_is_known() {
    let mut history = History::ordered();
    history.records.clear();
    history.next.seal = Some(seal_of("db", 1));
    history.next.side = Side::Target;
    history.say(up());
    history.check(&[]);
}

#[test]
fn nonce_reused() {
    let mut history = History::new();
    let status = Status { sequence: 1, ..history.records[0].status.clone() };
    history.push(status);
    history.check(&[Breach::NonceReused]);
}

#[test]
fn sequence_not_rising() {
    let mut history = History::new();
    history.next.sequence = 0;
    history.say(Standing::Idle);
    history.check(&[Breach::SequenceNotRising { last: 0 }]);
}

#[test]
fn boot_returned() {
    let mut history = History::new();
    history.boot(1, Side::Default);
    history.say(Standing::Idle);
    history.boot(0, Side::Default);
    history.say(Standing::Idle);
    history.check(&[Breach::BootReturned]);
}

#[test]
fn generation_fell() {
    let mut history = History::reached(&ALL[..1]);
    history.boot(1, Side::Default);
    history.next.generation = None;
    history.say(Standing::Idle);
    let last = Generation(1);
    history.check(&[Breach::GenerationFell { last }]);
}

#[test]
fn never_issued() {
    let mut history = History::ordered();
    let generation = Generation(2);
    history.next.generation = Some(generation);
    history.say(Standing::Idle);
    history.check(&[Breach::NeverIssued { generation }]);
}

#[test]
fn hostile_obeyed() {
    let mut history = History::new();
    history.answer(Answer::Forged, 1_001, purpose("web"));
    let generation = Generation(1_001);
    history.next.generation = Some(generation);
    history.say(Standing::Idle);
    history.check(&[Breach::NeverIssued { generation }, Breach::HostileObeyed]);

    let mut history = History::left();
    history.say(up());
    history.answer(Answer::Stale, 1, purpose("web"));
    history.say(Standing::Returning);
    history.check(&[Breach::HostileObeyed]);
}

#[test]
fn unequal_answers() {
    let mut history = History::ordered();
    history.say(Standing::Idle);
    history.answer(Answer::Genuine, 1, purpose("db"));
    let generation = Generation(1);
    history.check(&[Breach::UnequalAnswers { generation }]);
}

#[test]
fn impossible() {
    let why = |why| [Breach::Impossible { why }];
    let mut history = History::new();
    history.say(at(Stage::Accepted));
    history.check(&why("no order was accepted"));

    let mut history = History::ordered();
    history.next.side = Side::Target;
    history.say(at(Stage::Accepted));
    history.check(&why("the target runs"));

    let mut history = History::new();
    history.answer(Answer::Genuine, 1, WAIT);
    history.next.generation = Some(Generation(1));
    history.say(at(Stage::Accepted));
    history.check(&why("the order accepted is another one"));

    let mut history = History::reached(&ALL[..6]);
    history.next.seal = Some(seal_of("web", 9));
    history.say(at(Stage::Sealed));
    history.check(&why("the target is sealed under another generation"));

    let mut history = History::ordered();
    history.say(Standing::Purposing {
        stage: Stage::Accepted,
        done_bytes: 2,
        total_bytes: 1,
        bytes_per_s: 0,
    });
    history.check(&why("more bytes done than there are"));
}

#[test]
fn stage_skipped() {
    let mut history = History::reached(&ALL[..3]);
    history.say(at(Stage::Audited));
    let (from, to) = (Some(Stage::Unsealed), Stage::Audited);
    history.check(&[Breach::StageSkipped { from, to }]);

    let mut history = History::ordered();
    history.say(at(Stage::Planned));
    let (from, to) = (None, Stage::Planned);
    history.check(&[Breach::StageSkipped { from, to }]);
}

#[test]
fn a_target_that_was_its_image_already_is_sealed_as_planned() {
    let mut history = History::reached(&ALL[..2]);
    history.next.seal = Some(seal_of("web", 1));
    history.say(at(Stage::Sealed));
    history.check(&[]);
}

#[test]
fn a_stage_lost_on_the_way_was_not_skipped() {
    let mut history = History::reached(&ALL[..3]);
    history.next.sequence += 1;
    history.say(at(Stage::Audited));
    history.check(&[]);
}

#[test]
fn stage_fell() {
    let mut history = History::reached(&ALL[..5]);
    history.say(at(Stage::Unsealed));
    let (from, to) = (Stage::Audited, Stage::Unsealed);
    history.check(&[Breach::StageFell { from, to }]);
}

#[test]
fn purposed_twice() {
    let mut history = History::left();
    history.boot(2, Side::Default);
    history.say(Standing::Idle);
    history.say(at(Stage::Accepted));
    history.say(at(Stage::Planned));
    history.next.seal = None;
    history.say(at(Stage::Unsealed));
    let generation = Generation(1);
    history.check(&[Breach::PurposedTwice { generation }]);
}

#[test]
fn seal_contradicts() {
    let mut history = History::reached(&ALL[..6]);
    history.say(at(Stage::Sealed));
    history.check(&[Breach::SealContradicts]);

    let mut history = History::reached(&ALL[..2]);
    history.next.seal = Some(seal_of("web", 1));
    history.say(at(Stage::Unsealed));
    history.check(&[Breach::SealContradicts]);

    let mut history = History::left();
    history.next.seal = None;
    history.say(up());
    history.check(&[Breach::SealContradicts]);
}

#[test]
fn left_unarmed() {
    let mut history = History::reached(&ALL[..7]);
    history.say(Standing::Leaving { method: BootMethod::Kexec });
    history.check(&[Breach::LeftUnarmed]);
}

#[test]
fn up_too_early() {
    let mut history = History::reached(&ALL);
    history.boot(1, Side::Target);
    history.say(up());
    history.check(&[Breach::UpTooEarly]);
}

#[test]
fn seal_mismatch() {
    let mut history = History::left();
    history.next.seal = Some(seal_of("db", 1));
    history.say(up());
    let generation = Generation(1);
    history.check(&[Breach::SealMismatch { generation }]);
}

#[test]
fn a_violation_names_its_status() {
    let mut history = History::reached(&ALL[..7]);
    history.say(LEAVING);
    let violation = &oracle::check(&history.records)[0];
    let server = history.next.server.short();
    let expected =
        format!("status 8 (server {server}, sequence 8): leaves for a target that is not armed");
    assert_eq!(violation.to_string(), expected);
}
