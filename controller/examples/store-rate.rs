//! How many servers a second the store updates: `store-rate FOLDER [URL]`. Prints and judges
//! nothing; the figures are this machine's.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use repave_controller::store::changes::{Changes, EventPut, ServerPut};
use repave_controller::store::{self, Store};

const SERVERS: u64 = 10_000;
const BATCHES: [usize; 4] = [1, 50, 200, 500];
const UPDATES: usize = 20_000;
/// Few, where each is a commit of its own.
const COMMITS: usize = 400;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: store-rate FOLDER [URL]")?;
    let url = arguments.next();
    let store = store::open(url.as_deref(), Path::new(&folder)).await?;
    let mut revisions = Vec::new();
    for first in (0..SERVERS).step_by(500) {
        let puts = (first..first + 500).map(|number| server(number, None));
        let servers = puts.collect::<anyhow::Result<_>>()?;
        let changes = Changes { servers, ..Changes::default() };
        revisions.extend(std::iter::repeat_n(store.commit(changes).await?.revision, 500));
    }
    for batch in BATCHES {
        let commits = COMMITS.min(UPDATES / batch);
        let began = Instant::now();
        for commit in 0..commits {
            update(&*store, &mut revisions, commit * batch, batch).await?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let rate = commits as f64 / seconds;
        let updates = rate * batch as f64;
        writeln!(
            io::stdout(),
            "batches of {batch:3}: {updates:6.0} servers/s, {rate:5.0} commits/s"
        )?;
    }
    store.close().await;
    Ok(())
}

/// Updates `batch` servers and appends an event for each tenth.
async fn update(
    store: &dyn Store,
    revisions: &mut [i64],
    first: usize,
    batch: usize,
) -> anyhow::Result<()> {
    let count = revisions.len();
    let chosen = (first..first + batch).map(|number| number % count);
    let puts = chosen.clone().map(|number| server(number as u64, Some(revisions[number])));
    let events = chosen.clone().step_by(10).map(|number| {
        let put = server(number as u64, None)?;
        let (server, doc) = (Some(put.id), put.doc);
        Ok(EventPut { at_ms: 0, server, kind: "purposed".into(), actor: None, doc })
    });
    let changes = Changes {
        servers: puts.collect::<anyhow::Result<_>>()?,
        events: events.collect::<anyhow::Result<_>>()?,
        ..Changes::default()
    };
    let committed = store.commit(changes).await?;
    chosen.for_each(|number| revisions[number] = committed.revision);
    Ok(())
}

/// A server with a document of two kilobytes.
fn server(number: u64, expected: Option<i64>) -> anyhow::Result<ServerPut> {
    Ok(ServerPut {
        id: format!("{number:064x}").parse()?,
        expected,
        standing: "ready".into(),
        server_type: Some("web".into()),
        seen_at_ms: i64::try_from(number)?,
        doc: format!(r#"{{"inventory":"{}"}}"#, "x".repeat(2_000)),
    })
}
