//! A reader that pages through the events misses none, however many append meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use repave_controller::store::EventFilter;
use repave_controller::store::changes::EventPut;

use crate::fixture::{Database, event, events, id, on_both, write};

on_both!(a_pager_misses_nothing, filters_and_directions, old_events_are_pruned);

const WRITERS: usize = 6;
const COMMITS: usize = 40;

async fn a_pager_misses_nothing(database: Arc<Database>) {
    let store = database.open().await;
    let at_work = Arc::new(AtomicUsize::new(WRITERS));
    for writer in 0..WRITERS {
        let store = database.beside(&store).await;
        let at_work = at_work.clone();
        tokio::spawn(async move {
            for number in 0..COMMITS {
                // Commits of different sizes end in another order than they began.
                let size = 1 + (writer * 31 + number * 17) % 60;
                let kind = |part| event(&format!("{writer}.{number}.{part}"), 0);
                write(&store, events((0..size).map(kind))).await;
            }
            at_work.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let (mut after, mut read) = (0, Vec::new());
    loop {
        // Looked at before the page is read: an empty page after the last commit is the end.
        let done = at_work.load(Ordering::SeqCst) == 0;
        let page = store.events(&EventFilter::default(), after, 37).await.unwrap();
        match page.last() {
            Some(last) => after = last.sequence,
            None if done => break,
            None => tokio::task::yield_now().await,
        }
        read.extend(page);
    }
    assert!(read.is_sorted_by(|one, next| one.sequence < next.sequence));
    let expected = (0..WRITERS)
        .flat_map(|writer| (0..COMMITS).map(move |number| 1 + (writer * 31 + number * 17) % 60));
    assert_eq!(read.len(), expected.sum::<usize>());
    let kinds: HashSet<_> = read.iter().map(|row| &row.kind).collect();
    assert_eq!(kinds.len(), read.len());
}

async fn filters_and_directions(database: Arc<Database>) {
    let store = database.open().await;
    let of = |number: u64| EventPut {
        server: Some(id(number % 3)),
        ..event(if number.is_multiple_of(2) { "even" } else { "odd" }, 0)
    };
    let sequences = write(&store, events((0..30).map(of))).await.events.unwrap();
    let first = *sequences.start();
    let check = async |filter: EventFilter, expected: Vec<i64>| {
        let found = store.events(&filter, 0, 100).await.unwrap();
        let found: Vec<i64> = found.iter().map(|row| row.sequence - first).collect();
        assert_eq!(found, expected);
        let newest = store.newest_events(&filter, None, 2).await.unwrap();
        let newest: Vec<i64> = newest.iter().map(|row| row.sequence - first).collect();
        assert_eq!(newest, expected.iter().rev().take(2).copied().collect::<Vec<_>>());
        let before = Some(first + newest[1]);
        let next = store.newest_events(&filter, before, 1).await.unwrap();
        assert_eq!(next[0].sequence - first, expected[expected.len() - 3]);
    };
    let server = Some(id(1));
    let kind = || Some("odd".to_owned());
    check(EventFilter::default(), (0..30).collect()).await;
    check(EventFilter { server, kind: None }, (0..30).filter(|n| n % 3 == 1).collect()).await;
    check(EventFilter { server: None, kind: kind() }, (0..30).filter(|n| n % 2 == 1).collect())
        .await;
    check(EventFilter { server, kind: kind() }, (0..30).filter(|n| n % 6 == 1).collect()).await;
}

async fn old_events_are_pruned(database: Arc<Database>) {
    let store = database.open().await;
    let last = *write(&store, events((0..9_000).map(|at_ms| event("tick", at_ms))))
        .await
        .events
        .unwrap()
        .end();
    assert_eq!(store.prune_events(8_990).await.unwrap(), 8_990);
    assert_eq!(store.prune_events(8_990).await.unwrap(), 0);
    assert_eq!(store.events(&EventFilter::default(), 0, 100).await.unwrap().len(), 10);
    assert_eq!(store.prune_events(i64::MAX).await.unwrap(), 10);
    let next = write(&store, events([event("tick", 0)])).await.events.unwrap();
    assert!(*next.start() > last, "the sequence of a pruned event was given again");
}
