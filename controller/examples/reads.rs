//! How long it takes to look at a large pool: `reads FOLDER [SERVERS]` fills an embedded database and
//! asks for types, plan, page and names, first with nothing in memory, then again at once. Prints
//! and judges nothing; the figures are this machine's.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use repave_controller::authority::Authority;
use repave_controller::control::{Control, Setup};
use repave_controller::fleet::{Credentials, admit};
use repave_controller::library_place::{LibraryPlace, RegistryFiles};
use repave_controller::records;
use repave_controller::shelf::Shelf;
use repave_controller::store::{self, changes::Changes};
use repave_protocol::{
    Dmi, Inventory, Nonce, ServerId, Sha256, Side, SigningKey, Standing, Status,
};
use time::OffsetDateTime;

/// Longer than anything is kept in memory.
const OLD: Duration = Duration::from_millis(1_500);
/// Servers in one commit.
const AT_ONCE: u32 = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: reads FOLDER [SERVERS]")?;
    let count: u32 = arguments.next().map_or(Ok(20_000), |count| count.parse())?;
    let control = open(Path::new(&folder)).await?;
    for first in (0..count).step_by(AT_ONCE as usize) {
        let numbers = first..count.min(first + AT_ONCE);
        let servers = numbers.map(|number| Ok(records::put(&server(number)?, None)));
        let changes =
            Changes { servers: servers.collect::<anyhow::Result<_>>()?, ..Changes::default() };
        control.store().commit(changes).await?;
    }
    for round in ["first", "again"] {
        show(&control, round, count).await?;
    }
    control.store().close().await;
    Ok(())
}

async fn show(control: &Control, round: &str, count: u32) -> anyhow::Result<()> {
    let say = |what: &str, began: Instant| {
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        writeln!(io::stdout(), "{round} {what:8} {ms:8.1} ms")
    };
    let is_first = round == "first";
    for what in ["types", "plan", "page", "name"] {
        if is_first {
            tokio::time::sleep(OLD).await;
        }
        let began = Instant::now();
        match what {
            "types" => drop(control.types().await?),
            "plan" => drop(control.plan(None).await?),
            "page" => drop(control.overview().await?),
            _ => drop(control.find_server(&format!("server-{}", count / 2)).await?),
        }
        say(what, began)?;
    }
    Ok(())
}

async fn open(folder: &Path) -> anyhow::Result<Arc<Control>> {
    let names = ["127.0.0.1".to_owned()];
    let authority = Authority::open_or_create(folder, &names, OffsetDateTime::now_utc())?;
    let store = store::open(None, folder).await?;
    let setup = Setup {
        pool: "reads".parse()?,
        root_key: SigningKey::from_seed(&[9; 32]).public(),
        sources: Vec::new(),
        open_enrolment: true,
        power_commands: false,
        wait_ms: 1_000,
    };
    let place = LibraryPlace::Folder(folder.join("library"));
    let shelf = Shelf::open(&place, &RegistryFiles::default())?;
    Ok(Control::open(setup, shelf, store, Arc::new(authority)).await?)
}

fn server(number: u32) -> anyhow::Result<repave_controller::fleet::Server> {
    let seed = Sha256::of(&number.to_le_bytes());
    let key = SigningKey::from_seed(seed.as_bytes());
    let dmi = Dmi { serial: Some(format!("S{number}")), ..Dmi::default() };
    let status = Status {
        crit: Vec::new(),
        pool: "reads".parse()?,
        server: ServerId::of(&key.public()),
        nonce: Nonce::from_random(*seed.as_bytes()),
        boot: Nonce::from_random(*seed.as_bytes()),
        sequence: 0,
        side: Side::Default,
        agent: "1".into(),
        generation: None,
        trust: Some(1),
        seal: None,
        standing: Standing::Idle,
        log: None,
        bad_sources: Vec::new(),
        uptime_ms: 1,
        inventory: Some(Inventory { dmi, architecture: "amd64".into(), ..Inventory::default() }),
        default_partition: None,
        wiped: None,
        watchdog: None,
        join_token: None,
    };
    let shown = Credentials { open: true, ..Credentials::default() };
    let (mut server, _) = admit(&status, &shown, 1)?;
    server.name = Some(format!("server-{number}"));
    server.approve("reads", 1);
    Ok(server)
}
