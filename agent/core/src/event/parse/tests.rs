//! Every form of an event, printed and read back; and lines that are none.

use repave_protocol::{Blame, Fault, Generation, Guid, Order, Sha256, Stage, Standing};

use super::super::{Call, Event, Line, Outcome};
use super::BadLine;
use crate::edges::LinkErrorKind;
use crate::gpt::{Entry, Health};
use crate::journal::{Accepted, Record, Secret, UpRecord};

fn record() -> Record {
    Record {
        device_seed: Secret::new([7; 32]),
        identity: [1, 2, 3].map(|byte| Guid::from_disk_bytes([byte; 16])),
        trust: Some("{}".into()),
        accepted: Some(Accepted { generation: Generation(4), digest: Sha256::of(b"order") }),
        purposing: None,
        seal: None,
        unsealed: Vec::new(),
        written: Vec::new(),
        wiping: None,
        wiped: None,
        staying: Some("two\nlines".into()),
        withdrawn: false,
        failure: None,
    }
}

#[test]
fn every_event_is_read_as_it_was_printed() {
    let guid = Guid::from_disk_bytes([9; 16]);
    let entry = Entry {
        number: 3,
        type_guid: guid,
        guid,
        first_lba: 2048,
        last_lba: 4095,
        attributes: 4,
        name: "a \"name\"\nof two lines".into(),
    };
    let fault = Fault::new(Blame::Device, "disk-failed", "", Some(Stage::Unsealed));
    let purposing = Standing::Purposing {
        stage: Stage::Planned,
        done_bytes: 1,
        total_bytes: 2,
        bytes_per_s: 0,
    };
    let words = || Some("Input/output error (os error 5)".to_owned());
    let (disk, offset_bytes, length_bytes) = (1, 4096, 512);
    let name = || "BootOrder".to_owned();
    let events = [
        ("home 2", Event::Home { life: 2 }),
        ("", Event::Disk(0, Box::default())),
        ("", Event::Table(1, guid, Health { primary: true, backup: false })),
        ("", Event::Entry(1, entry)),
        ("loader none", Event::Loader(None)),
        ("", Event::Loader(Some(guid))),
        ("journal none", Event::Journal(None)),
        ("", Event::journal(Some((17, &record())))),
        ("up none", Event::Up(None)),
        ("up 4 2", Event::Up(Some(UpRecord { generation: Generation(4), departure: 2 }))),
        ("drew 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", Event::Drew([10; 16])),
        ("variables Boot0000 Boot0001", Event::Names("Boot0000 Boot0001".into())),
        ("variables ", Event::Names(String::new())),
        ("found BootNext none", Event::Found("BootNext".into(), None)),
        ("found BootOrder 0100", Event::Found(name(), Some(vec![1, 0]))),
        ("found BootOrder ", Event::Found(name(), Some(Vec::new()))),
        (
            "disk 1 read 4096 512 failed: Input/output error (os error 5)",
            Event::Call(Call::Read { disk, offset_bytes, length_bytes }, words()),
        ),
        (
            "disk 1 write 4096 512",
            Event::Call(Call::Write { disk, offset_bytes, length_bytes }, None),
        ),
        ("disk 1 flush", Event::Call(Call::Flush { disk }, None)),
        ("disk 1 reread", Event::Call(Call::Reread { disk }, None)),
        (
            "disk 1 workers 65536 10",
            Event::Call(Call::Workers { disk, chunk_bytes: 65_536, slots: 10 }, None),
        ),
        ("", Event::Call(Call::List, words())),
        ("", Event::Call(Call::Get { name: name() }, words())),
        (
            "firmware set BootOrder 00ff",
            Event::Call(Call::Set { name: name(), value: vec![0, 255] }, None),
        ),
        ("firmware delete BootOrder", Event::Call(Call::Delete { name: name() }, None)),
        ("", Event::Call(Call::Configure, Some("image: mount: /: it failed: twice".into()))),
        ("settings verify", Event::Call(Call::Verify, None)),
        ("watchdog arm 120", Event::Call(Call::Arm { timeout_s: 120 }, None)),
        ("watchdog stop", Event::Call(Call::Disarm, None)),
        ("kexec load", Event::Call(Call::Load, None)),
        ("kexec", Event::Call(Call::Kexec, None)),
        ("", Event::Call(Call::Reboot, words())),
        ("", Event::told(3, &purposing)),
        ("", Event::told(4, &Standing::Failed { fault })),
        ("", Event::answered(Generation(5), &Order::Wait { after_ms: 50 })),
        ("trust 2", Event::Trust(2)),
        ("refused other-nonce", Event::Refused("other-nonce".into())),
        ("unanswered connection reset", Event::Unanswered("connection reset".into())),
        ("alone", Event::Alone),
        ("", Event::Image(Sha256::of(b"x"), vec![true, true, false], "{\"name\": 1}".into())),
        ("page 2 2s1z1s", Event::Page(2, vec![true, true, false, true])),
        ("missed 404", Event::Missed(LinkErrorKind::Trouble, "404".into())),
        ("lied status 302", Event::Missed(LinkErrorKind::Lie, "status 302".into())),
        ("chunk 17 slot 3 fetched", Event::Job(17, 3, Outcome::Fetched)),
        ("chunk 17 slot 3 lied", Event::Job(17, 3, Outcome::Lied)),
        ("chunk 17 slot 3 wrote", Event::Job(17, 3, Outcome::Wrote)),
        ("chunk 17 slot 3 zeroed 4096", Event::Job(17, 3, Outcome::Zeroed(4096))),
        ("chunk 17 slot 3 flushed", Event::Job(17, 3, Outcome::Flushed)),
        ("chunk 17 slot 3 same", Event::Job(17, 3, Outcome::Same)),
        ("chunk 17 slot 3 other", Event::Job(17, 3, Outcome::Other)),
        (
            "chunk 1 slot 0 source failed: 404",
            Event::Job(1, 0, Outcome::Source(LinkErrorKind::Trouble, "404".into())),
        ),
        (
            "chunk 1 slot 0 source lied: it failed: gzip",
            Event::Job(1, 0, Outcome::Source(LinkErrorKind::Lie, "it failed: gzip".into())),
        ),
        ("chunk 1 slot 0 device failed: EIO", Event::Job(1, 0, Outcome::Device("EIO".into()))),
    ];
    for (expected, event) in events {
        let line = Line { uptime_ms: 12_045, event };
        let text = line.to_string();
        assert!(!text.contains('\n'), "{text:?}");
        let words = text.strip_prefix("[   12.045] repave EVENT ").expect("the line's own head");
        assert!(expected.is_empty() || words == expected, "{words}");
        assert_eq!(text.parse::<Line>().as_ref(), Ok(&line), "{text}");
        // A console's lines end in a carriage return, and may have a kernel's half line before them.
        assert_eq!(format!("[ 0.1] usb{text}\r").parse::<Line>().as_ref(), Ok(&line));
    }
}

#[test]
fn neither_seed_nor_settings_nor_messages_get_into_a_line() {
    let text = Event::journal(Some((1, &record()))).to_string();
    assert!(!text.contains(",7,7,") && text.contains(",0,0,"), "{text}");
    assert!(text.contains("\"trust\":null"), "{text}");
    let fault = Fault::new(Blame::Device, "disk-failed", "vda: a long story", None);
    let text = Event::told(1, &Standing::Failed { fault }).to_string();
    assert!(text.contains("disk-failed") && !text.contains("story"), "{text}");
}

#[test]
fn what_is_no_event_is_refused_with_what_is_wrong() {
    let check = |line: &str, expected: &str| {
        let error = line.parse::<Line>().unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    };
    assert_eq!("[    1.000] repave INFO  hello".parse::<Line>(), Err(BadLine::NoMark));
    assert_eq!("repave EVENT home 1".parse::<Line>(), Err(BadLine::NoTime));
    assert_eq!("[1] repave EVENT home 1".parse::<Line>(), Err(BadLine::NoTime));
    for (event, expected) in [
        ("house 1", "it begins with \"house\""),
        ("home x", "\"x\" is out of place"),
        ("home 1 2", "\"2\" is too much"),
        ("disk 0 flush now", "\"now\" is too much"),
        ("disk 0 table x", "out of place"),
        ("disk 0 burns", "a disk has no \"burns\""),
        ("drew 0a", "16 bytes"),
        ("found BootNext 0x", "hexadecimal"),
        ("page 1 3x", "neither stored nor zero"),
        ("page 1 3s4", "ends in a number"),
        ("page 1 99999999s", "counts no chunks"),
        ("told 1 {}", "kind"),
        ("chunk 1 slot 0 melted", "does not come to \"melted\""),
    ] {
        check(&format!("[    1.000] repave EVENT {event}"), expected);
    }
}
