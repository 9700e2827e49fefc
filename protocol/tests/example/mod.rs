//! One fixed world for all tests of the wire: a pool, a server, its keys, and a message of each
//! form. The seeds are public, so nothing outside a test may trust these keys.

use std::path::PathBuf;

use repave_protocol::{
    Blame, BootMethod, Coverage, Directive, DirectiveExpected, Disk, DiskSelector, Dmi, Fault,
    Firmware, Generation, Guard, ImageReference, ImageSignature, ImageSignatureExpected,
    InterfaceSettings, Inventory, Load, LogTail, Nic, Nonce, Order, Partition, PartitionTable,
    PoolId, Purpose, SealReport, ServerId, Settings, SettingsFile, Sha256, Side, SigningKey,
    SourceReport, Stage, Standing, Status, StatusExpected, TrustDocument, TrustExpected,
    WatchdogReport, Wipe, WipePass, WipedRange,
};

pub(crate) fn device_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(crate) fn directive_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

pub(crate) fn root_key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

pub(crate) fn image_key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// A key that nobody trusts.
pub(crate) fn foreign_key() -> SigningKey {
    SigningKey::from_seed(&[66; 32])
}

pub(crate) fn pool() -> PoolId {
    "demo".parse().unwrap()
}

pub(crate) fn other_pool() -> PoolId {
    "stage".parse().unwrap()
}

pub(crate) fn server() -> ServerId {
    ServerId::of(&device_key().public())
}

pub(crate) fn other_server() -> ServerId {
    ServerId::of(&foreign_key().public())
}

pub(crate) const NONCE: Nonce = Nonce::from_random([0xaa; 32]);
pub(crate) const OTHER_NONCE: Nonce = Nonce::from_random([0xbb; 32]);
pub(crate) const GENERATION: Generation = Generation(7);

pub(crate) fn status(standing: Standing) -> Status {
    Status {
        crit: Vec::new(),
        pool: pool(),
        server: server(),
        nonce: NONCE,
        boot: Nonce::from_random([0xb0; 32]),
        sequence: 3,
        side: Side::Default,
        agent: "0.1.0".into(),
        generation: Some(GENERATION),
        seal: None,
        wiped: None,
        standing,
        log: None,
        bad_sources: Vec::new(),
        uptime_ms: 1_600,
        watchdog: None,
        inventory: None,
        default_partition: None,
        trust: Some(3),
        join_token: None,
    }
}

/// The first status of a server that was just burned: everything it can say of itself.
pub(crate) fn status_idle() -> Status {
    Status {
        sequence: 0,
        generation: None,
        inventory: Some(inventory()),
        default_partition: Some(Sha256::of(b"default partition")),
        join_token: Some("rack-4".into()),
        ..status(Standing::Idle)
    }
}

pub(crate) fn status_purposing() -> Status {
    status(Standing::Purposing {
        stage: Stage::Unsealed,
        done_bytes: 96 << 20,
        total_bytes: 640 << 20,
        bytes_per_s: 48 << 20,
    })
}

/// Two mirrors turned out to be bad under way.
pub(crate) fn bad_sources() -> Vec<SourceReport> {
    vec![
        SourceReport::new("http://ann:s3cret@mirror-1/web", true, "inflates to 17 bytes"),
        SourceReport::new("http://mirror-2/web", false, "status 503: busy"),
    ]
}

pub(crate) fn status_bad_sources() -> Status {
    Status { bad_sources: bad_sources(), ..status_purposing() }
}

/// About to leave by kexec, guarded across it, after the watchdog had reset the server.
pub(crate) fn status_leaving() -> Status {
    let guard = Guard::Armed { device: "i6300ESB timer".into(), timeout_s: 180 };
    Status {
        watchdog: Some(WatchdogReport { guard, expired: true }),
        ..status(Standing::Leaving { method: BootMethod::Kexec })
    }
}

pub(crate) fn status_failed() -> Status {
    let fault = Fault::new(
        Blame::Image,
        "chunk-digest",
        "chunk 17 of image web:3 is not what its index names",
        Some(Stage::Unsealed),
    );
    Status { log: Some(log()), ..status(Standing::Failed { fault }) }
}

pub(crate) fn log() -> LogTail {
    LogTail::of(
        b"[    1.600] repave INFO  generation 7: become web with image web 3\n",
        b"<6>[    1.043810] virtio_blk virtio1: [vda] 16777216 512-byte logical blocks\n",
    )
}

pub(crate) fn status_wiping() -> Status {
    status(Standing::Wiping {
        pass: WipePass::ReadingBack,
        done_bytes: 96 << 20,
        total_bytes: 8191 << 20,
        bytes_per_s: 480 << 20,
    })
}

pub(crate) fn coverage() -> Coverage {
    let range = WipedRange {
        disk: "vda".into(),
        serial: Some("disk-1".into()),
        wwn: None,
        offset_bytes: 129 << 20,
        length_bytes: 8062 << 20,
        written_bytes: 640 << 20,
        read_back_bytes: 8062 << 20,
    };
    let missing = vec!["3259cd34-c382-46cf-8f6a-632bfa258c8b".parse().expect("a GUID")];
    Coverage { generation: GENERATION, ranges: vec![range], missing }
}

/// A server that stays in default after a wipe.
pub(crate) fn status_wiped() -> Status {
    Status { wiped: Some(coverage()), ..status(Standing::Staying) }
}

pub(crate) fn status_up() -> Status {
    Status {
        side: Side::Target,
        seal: Some(SealReport {
            generation: GENERATION,
            server_type: "web".into(),
            image: "web".into(),
            version: 3,
            manifest: Sha256::of(b"manifest"),
            attempts: 1,
            alone: false,
        }),
        ..status(Standing::Up {
            load: Load {
                load_milli: 420,
                busy_milli: 305,
                cpus: 2,
                memory_used_bytes: 256 << 20,
                memory_bytes: 1 << 30,
            },
        })
    }
}

fn inventory() -> Inventory {
    Inventory {
        dmi: Dmi {
            vendor: Some("Example".into()),
            product: Some("Node 1".into()),
            serial: Some("SN0001".into()),
            uuid: Some("0a7b1e7c-5f0e-4c39-9a52-5b0f6f0b1c2d".into()),
            firmware_version: Some("1.2.3".into()),
        },
        architecture: "amd64".into(),
        cpu_model: Some("Example CPU".into()),
        cpus: 2,
        memory_bytes: 1 << 30,
        nics: vec![Nic {
            name: "eth0".into(),
            mac: "52:54:00:12:34:56".into(),
            driver: Some("virtio_net".into()),
            speed_mbit: Some(10_000),
            carrier: true,
            addresses: vec!["10.0.2.15/24".into()],
        }],
        disks: vec![Disk {
            name: "vda".into(),
            bus: "virtio".into(),
            serial: Some("disk-1".into()),
            wwn: None,
            model: None,
            size_bytes: 8 << 30,
            logical_block_bytes: 512,
            physical_block_bytes: 512,
            rotational: false,
            holds_default: true,
            table: Some(PartitionTable {
                guid: "3259cd34-c382-46cf-8f6a-632bfa258c8b".parse().expect("a GUID"),
                partitions: vec![Partition {
                    name: "repave-default".into(),
                    guid: "a4a73209-1e60-4caa-acfe-479f6dd837ed".parse().expect("a GUID"),
                    type_guid: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".parse().expect("a GUID"),
                    size_bytes: 64 << 20,
                }],
            }),
        }],
        firmware: Firmware {
            efi_variables: true,
            secure_boot: Some(false),
            boot_current: Some(1),
            boot_order: vec![1, 0],
            boot_next: None,
        },
    }
}

pub(crate) fn directive(order: Order) -> Directive {
    Directive {
        crit: Vec::new(),
        pool: pool(),
        server: server(),
        nonce: NONCE,
        generation: GENERATION,
        order,
        trust: None,
    }
}

pub(crate) fn directive_purpose() -> Directive {
    directive(Order::Purpose(Box::new(purpose())))
}

pub(crate) fn directive_boot() -> Directive {
    directive(Order::Boot { sealed: Generation(5) })
}

pub(crate) fn directive_stay() -> Directive {
    directive(Order::Stay { reason: "memory errors, awaiting a new module".into() })
}

pub(crate) fn directive_wipe() -> Directive {
    let disk = DiskSelector { serial: Some("disk-1".into()), ..DiskSelector::default() };
    directive(Order::Wipe(Wipe { reason: "the lease ends".into(), disk: Some(disk) }))
}

/// A wait; a newer trust document travels along.
pub(crate) fn directive_wait() -> Directive {
    let trust = repave_protocol::seal(&trust_document(), &root_key());
    Directive {
        trust: Some(serde_json::from_slice(&trust).unwrap()),
        ..directive(Order::Wait { after_ms: 5_000 })
    }
}

pub(crate) fn purpose() -> Purpose {
    Purpose {
        server_type: "web".into(),
        image: ImageReference { name: "web".into(), version: 3, manifest: Sha256::of(b"manifest") },
        sources: vec!["https://10.0.2.2:8443/library".into()],
        disk: Some(DiskSelector {
            serial: Some("disk-1".into()),
            wwn: None,
            size_bytes: Some(8 << 30),
        }),
        boot: BootMethod::Auto,
        settings: Settings {
            hostname: Some("web-1".into()),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAA operator".into()],
            network: vec![InterfaceSettings {
                mac: "52:54:00:12:34:56".into(),
                addresses: vec!["10.0.2.15/24".into()],
                gateway: Some("10.0.2.2".into()),
                dns: vec!["10.0.2.3".into()],
            }],
            watchdog_s: None,
            files: vec![SettingsFile::new("/etc/motd", 0o644, b"web\n")],
        },
    }
}

pub(crate) fn trust_document() -> TrustDocument {
    TrustDocument {
        crit: Vec::new(),
        pool: pool(),
        version: 4,
        directive_keys: vec![directive_key().public()],
        image_keys: vec![image_key().public()],
        ca_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
        least_versions: [("web".into(), 2)].into(),
    }
}

pub(crate) fn image_signature() -> ImageSignature {
    ImageSignature {
        crit: Vec::new(),
        name: "web".into(),
        version: 3,
        config: Sha256::of(b"config"),
        index: Sha256::of(b"index"),
    }
}

pub(crate) fn status_expected() -> StatusExpected {
    StatusExpected { pool: pool(), server: server() }
}

pub(crate) fn directive_expected() -> DirectiveExpected {
    DirectiveExpected { pool: pool(), server: server(), nonce: NONCE, accepted: None }
}

pub(crate) fn trust_expected() -> TrustExpected {
    TrustExpected { pool: pool(), least_version: 4 }
}

pub(crate) fn image_signature_expected() -> ImageSignatureExpected {
    ImageSignatureExpected {
        name: "web".into(),
        version: 3,
        least_version: 2,
        config: Sha256::of(b"config"),
        index: Sha256::of(b"index"),
    }
}

/// A path below this crate's `tests/`.
pub(crate) fn tests_path(inside: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(inside)
}

/// Whether the committed files are to be rewritten instead of compared.
pub(crate) fn blessing() -> bool {
    std::env::var_os("REPAVE_BLESS").is_some()
}
