//! Libraries in a registry that nobody here wrote: pushed and pulled by command line, copied by
//! skopeo, and served by a controller.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/command.rs"]
mod command;
#[path = "../common/registry.rs"]
mod registry;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use registry::{PASSWORD, Registry};
use repave_controller::daemon::{self, Run};
use repave_controller::library_place::{LibraryPlace, RegistryFiles};
use repave_protocol::{Sha256, SigningKey};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const BOOT: &str = r#"{"server_type": "web", "reports": "resident",
    "boot": {"partition": "root", "kexec": {"partition": "root", "kernel": "/vmlinuz"}}}"#;

/// A registry, and a folder with a library of two versions that share most of their chunks.
struct Bench {
    folder: TempDir,
    registry: Registry,
    key: String,
}

impl Bench {
    fn new() -> Self {
        let bench =
            Self { folder: tempdir().unwrap(), registry: Registry::start(), key: String::new() };
        let key = bench.check(&["key", "generate", "--out", "image.key"], 0, "").trim().to_owned();
        fs::create_dir(bench.path("tree")).unwrap();
        fs::write(bench.path("boot.json"), BOOT).unwrap();
        let noise: Vec<u8> =
            (0..60_000_u32).flat_map(|n| *Sha256::of(&n.to_le_bytes()).as_bytes()).collect();
        fs::write(bench.path("tree/noise"), noise).unwrap();
        for (version, kernel) in [("1", "no kernel"), ("2", "another one")] {
            fs::write(bench.path("tree/vmlinuz"), kernel).unwrap();
            let mkfs = Command::new("/usr/sbin/mkfs.ext4")
                .args(["-q", "-U", "33333333-3333-4333-8333-333333333333", "-d", "tree"])
                .args([&format!("{version}.raw"), "8M"])
                .current_dir(bench.folder.path())
                .status();
            assert!(mkfs.unwrap().success());
            bench.import(version, version, "library", 0, "kexec-only");
        }
        Self { key, ..bench }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, source: &str, version: &str, library: &str, code: i32, printed: &str) {
        let source = format!("{source}.raw");
        let arguments = ["image", "import", &source, "--name", "web", "--version", version];
        let more = ["--boot", "boot.json", "--key", "image.key", "--library", library];
        self.check(&[&arguments[..], &more].concat(), code, printed);
    }

    /// Runs `repave` with the registry's CA and the right password.
    fn check(&self, arguments: &[&str], code: i32, printed: &str) -> String {
        self.check_as("auth.json", arguments, code, printed)
    }

    fn check_as(&self, auth: &str, arguments: &[&str], code: i32, printed: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_repave"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("REPAVE_REGISTRY_CA", self.registry.file("ca.crt"))
            .env("REPAVE_REGISTRY_AUTH", self.registry.file(auth));
        let text = command::check(command, code, printed);
        assert!(!text.contains(PASSWORD), "{arguments:?}: {text}");
        text
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.check(&[arguments, &["--json"]].concat(), 0, "");
        serde_json::from_str(&text).unwrap()
    }

    fn digest(&self, image: &str) -> Sha256 {
        let listed = self.json(&["image", "list", "--library", "library"]);
        let is = |entry: &&Value| format!("web:{}", entry["version"]) == image;
        let found = listed.as_array().unwrap().iter().find(is).unwrap().clone();
        found["manifest"].as_str().unwrap().parse().unwrap()
    }

    fn skopeo(&self, from: &str, to: &str) {
        let ran = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests"])
            .arg("--authfile")
            .arg(self.registry.file("auth.json"))
            .arg("--src-cert-dir")
            .arg(self.path("certificates"))
            .arg("--dest-cert-dir")
            .arg(self.path("certificates"))
            .args([from, to])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn an_image_goes_there_and_back_the_same() {
    let bench = Bench::new();
    let url = bench.registry.url("pool/images");
    let check =
        |arguments: &[&str], code: i32, printed: &str| bench.check(arguments, code, printed);
    let push = ["image", "push", "web:1", "--library", "library", "--to", &url];
    let list = ["image", "list", "--library", &url];
    assert_eq!(bench.json(&list), Value::Array(Vec::new()));
    let first = bench.json(&push);
    assert_eq!((&first["new_blobs"], &first["reused_blobs"]), (&4.into(), &0.into()));
    let again = bench.json(&push);
    assert_eq!((&again["new_blobs"], &again["reused_blobs"]), (&0.into(), &4.into()));
    let second = bench.json(&["image", "push", "web:2", "--library", "library", "--to", &url]);
    assert_eq!((&second["new_blobs"], &second["reused_blobs"]), (&4.into(), &1.into()));
    assert!(second["new_bytes"].as_u64() < first["new_bytes"].as_u64());
    assert_eq!(bench.json(&list), bench.json(&["image", "list", "--library", "library"]));
    let docker = url.replace("https:", "docker:");
    assert_eq!(bench.json(&["image", "list", "--library", &docker]), bench.json(&list));

    let image = |command, more: &[&str], code: i32, printed: &str| {
        check(&[&["image", command, "web:1", "--library", &url], more].concat(), code, printed)
    };
    image("inspect", &[], 0, "kexec only");
    image("verify", &["--public-key", &bench.key], 0, "signed by");
    let stranger = SigningKey::from_seed(&[9; 32]).public().to_string();
    image("verify", &["--public-key", &stranger], 3, "signature of image web:1 is refused");

    let pull = ["image", "pull", "web:1", "--from", &url, "--library", "pulled"];
    check(&[&pull[..], &["--public-key", &stranger]].concat(), 3, "is refused");
    check(&["image", "list", "--library", "pulled"], 0, "");
    check(&[&pull[..], &["--public-key", &bench.key]].concat(), 0, "4 blobs fetched");
    check(&pull, 0, "0 blobs fetched");
    for blob in fs::read_dir(bench.path("pulled/blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let original = bench.path("library/blobs/sha256").join(blob.file_name());
        assert!(fs::read(blob.path()).unwrap() == fs::read(original).unwrap());
    }
    check(&["image", "verify", "web:1", "--library", "pulled"], 0, "is whole");

    check(&["key", "generate", "--out", "new.key"], 0, "");
    check(&["image", "sign", "web:1", "--key", "new.key", "--library", "library"], 0, "");
    check(&push, 0, "1 blobs sent");
    check(&pull, 0, "1 blobs fetched");
    bench.import("2", "1", "other", 0, "");
    let other = ["image", "push", "web:1", "--library", "other", "--to", &url];
    check(&other, 3, "another image web:1 already");

    image("remove", &[], 0, "");
    image("remove", &[], 3, "has no image web:1 (tag web-1)");
    check(&list, 0, "web:2");
    check(&["image", "gc", "--library", &url], 3, "a registry collects its own garbage");
    image("sign", &["--key", "new.key"], 3, "pull the image, sign it");
    bench.import("1", "3", &url, 3, "import into a folder, then push");
}

#[test]
fn failures_name_registry_repository_and_status() {
    let bench = Bench::new();
    let url = bench.registry.url("pool/images");
    let list = ["image", "list", "--library", &url];
    let denied = format!("registry {url} does not let us list the tags (status 401)");
    bench.check_as("wrong.json", &list, 3, &denied);
    fs::write(bench.path("empty.json"), "{\"auths\":{}}").unwrap();
    let flags = ["--registry-auth", "empty.json"];
    bench.check(&[&list[..], &flags].concat(), 3, "has mode 644");
    let chmod = Command::new("chmod").arg("600").arg(bench.path("empty.json")).status();
    assert!(chmod.unwrap().success());
    bench.check(&[&list[..], &flags].concat(), 3, &denied);
    bench.check(&[&list[..], &["--registry-ca", "none.pem"]].concat(), 1, "cannot open none.pem");
    bench.check(&[&list[..], &["--registry-ca", "boot.json"]].concat(), 3, "holds no certificate");
    let other = Registry::start();
    let ca = other.file("ca.crt");
    let ca = ["--registry-ca", ca.to_str().unwrap()];
    bench.check(&[&list[..], &ca].concat(), 1, "after 4 attempts");
    let none = bench.registry.url("pool/none");
    let inspect = ["image", "inspect", "web:1", "--library", &none];
    bench.check(&inspect, 3, &format!("registry {none} has no image web:1"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = format!("https://127.0.0.1:{port}/pool");
    let list = ["image", "list", "--library", &gone];
    bench.check(&list, 1, &format!("registry {gone} does not answer, after 4 attempts"));
    bench.check(&["image", "list", "--library", "https://me:pw@r.test/a"], 2, "credentials");
}

#[test]
fn skopeo_copies_an_image_there_and_back() {
    let bench = Bench::new();
    fs::create_dir(bench.path("certificates")).unwrap();
    fs::copy(bench.registry.file("ca.crt"), bench.path("certificates/ca.crt")).unwrap();
    let there = format!("docker://{}/copied/images:web-1", bench.registry.host());
    bench.skopeo("oci:library:web:1", &there);
    let url = bench.registry.url("copied/images");
    let listed = bench.json(&["image", "list", "--library", &url]);
    let digest = bench.digest("web:1").to_string();
    assert_eq!(listed[0]["manifest"], digest.as_str());
    bench.check(
        &["image", "verify", "web:1", "--library", &url, "--public-key", &bench.key],
        0,
        "",
    );

    bench.skopeo(&there, "oci:back:web:1");
    let listed = bench.json(&["image", "list", "--library", "back"]);
    assert_eq!(listed[0]["manifest"], digest.as_str());
    let verify = ["image", "verify", "web:1", "--library", "back", "--public-key", &bench.key];
    bench.check(&verify, 0, "is whole");
    // Into a library that has images of its own, too.
    bench.skopeo(&there, "oci:library:web:9");
    bench.check(&["image", "gc", "--library", "library"], 0, "0 blobs");
}

#[test]
fn a_controller_serves_a_library_in_a_registry() {
    let bench = Bench::new();
    let url = bench.registry.url("pool/images");
    let push = |image| {
        bench.check(&["image", "push", image, "--library", "library", "--to", &url], 0, "sent");
    };
    push("web:1");
    let blob_listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Run {
        state: bench.path("state"),
        pool: "demo".parse().unwrap(),
        names: vec!["127.0.0.1".into()],
        listen: "127.0.0.1:0".parse().unwrap(),
        blob_listen: Some(blob_listen),
        library: url.parse::<LibraryPlace>().unwrap(),
        registry: RegistryFiles {
            registry_ca: Some(bench.registry.file("ca.crt")),
            registry_auth: Some(bench.registry.file("auth.json")),
        },
        other_sources: Vec::new(),
        root_key: SigningKey::from_seed(&[1; 32]).public(),
        database_url: None,
        open_enrolment: false,
        power_commands: false,
        poll_ms: 0,
        wait_ms: 1_000,
        tick_ms: 1_000,
        keep_days: 1,
        rate_per_s: 0,
    };
    fs::create_dir(bench.path("state")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(daemon::start(&run)).unwrap();
    let images = runtime.block_on(running.control.images()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].channels, ["latest"]);
    assert_eq!(images[0].manifest, bench.digest("web:1").to_string());

    let get = |digest: &str, range: Option<&str>| {
        let url = format!("http://{blob_listen}/library/blobs/sha256/{digest}");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request = agent.get(url);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let answer = request.call().unwrap();
        let part = answer.headers().get("content-range").map(|part| part.to_str().unwrap().into());
        let part: Option<String> = part;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        answer.into_body().into_reader().read_to_end(&mut bytes).unwrap();
        (status, part, bytes)
    };
    let oci: Value =
        serde_json::from_slice(&get(&images[0].manifest, None).2).expect("the manifest");
    let pack = oci["layers"][2]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let whole = fs::read(bench.path("library/blobs/sha256").join(pack)).unwrap();
    assert!(get(pack, None) == (200, None, whole.clone()));
    let (status, part, bytes) = get(pack, Some("bytes=1000-1999"));
    assert_eq!((status, part), (206, Some(format!("bytes 1000-1999/{}", whole.len()))));
    assert!(bytes == whole[1000..2000]);
    assert_eq!(get(pack, Some("bytes=99999999999-")).0, 416);
    assert_eq!(get(&Sha256::of(b"nothing").to_string(), None).0, 404);
    assert_eq!(get("..%2f..%2ftags", None).0, 404);

    // The registry goes away: what is known stays.
    let Bench { folder, registry, .. } = bench;
    drop(registry);
    assert_eq!(get(pack, None).0, 502);
    assert_eq!(runtime.block_on(running.control.images()).unwrap().len(), 1);
    runtime.block_on(running.stop());
    assert!(!Path::new(&folder.path().join("state/library")).exists());
}
