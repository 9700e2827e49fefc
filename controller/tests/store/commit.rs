//! Commits are whole, and nobody writes over what he has not read.

use std::sync::Arc;

use repave_controller::store::StoreError;
use repave_controller::store::changes::{
    Changes, DocumentDelete, DocumentPut, EventPut, Expected, Key, ServerDelete, ServerPut,
};
use repave_controller::store::limits;
use repave_controller::store::{EventFilter, ServerFilter, Store};

use crate::fixture::{Database, document, documents, event, id, on_both, server, servers, write};

on_both!(
    what_is_written_is_read_back,
    a_commit_is_all_or_nothing,
    a_conflict_names_the_row_and_what_is_there,
    a_row_made_anew_is_not_the_old_one,
    one_of_many_writers_wins,
    one_of_many_creators_wins,
    batches_in_any_order_do_not_lock_each_other_out,
    a_commit_goes_on_without_its_caller,
    what_is_too_large_is_refused,
);

async fn what_is_written_is_read_back(database: Arc<Database>) {
    let store = database.open().await;
    let text = r#"{"name":"ß \"quoted\" \\ 🚀","nothing":"\u0000","lines":"a\nb"}"#;
    let put = ServerPut {
        server_type: Some("web".into()),
        seen_at_ms: i64::MAX,
        doc: text.into(),
        ..server(1, None)
    };
    let paper = DocumentPut {
        expires_at_ms: Some(i64::MIN),
        doc: text.into(),
        ..document("policy", "a 'b' \"c\"", Expected::MustNotExist)
    };
    let happened = EventPut {
        server: Some(id(1)),
        actor: Some("ann".into()),
        doc: text.into(),
        ..event("purposed", 7)
    };
    let committed = write(
        &store,
        Changes {
            servers: vec![put, server(2, None)],
            documents: vec![paper],
            events: vec![happened, event("other", 8)],
            ..Changes::default()
        },
    )
    .await;

    let rows = store.servers(&[id(2), id(1), id(3)]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(rows[0].doc, text);
    assert_eq!(rows[0].server_type.as_deref(), Some("web"));
    assert_eq!((rows[0].seen_at_ms, rows[0].revision), (i64::MAX, committed.revision));
    assert_eq!((rows[1].server_type.as_ref(), rows[1].doc.as_str()), (None, "{}"));

    let row = store.document("policy", "a 'b' \"c\"").await.unwrap().unwrap();
    assert_eq!((row.doc.as_str(), row.expires_at_ms), (text, Some(i64::MIN)));
    assert_eq!(row.revision, committed.revision);
    assert_eq!(store.document("token", "a 'b' \"c\"").await.unwrap(), None);

    let rows = store.events(&EventFilter::default(), 0, 10).await.unwrap();
    let sequences: Vec<i64> = rows.iter().map(|row| row.sequence).collect();
    assert_eq!(committed.events.unwrap().collect::<Vec<_>>(), sequences);
    assert_eq!((rows[0].server, rows[0].actor.as_deref()), (Some(id(1)), Some("ann")));
    assert_eq!((rows[0].at_ms, rows[0].doc.as_str()), (7, text));
    assert_eq!((rows[1].server, rows[1].actor.as_deref()), (None, None));
}

async fn a_commit_is_all_or_nothing(database: Arc<Database>) {
    let store = database.open().await;
    let first = write(&store, servers([server(1, None)])).await.revision;
    let failing = Changes {
        servers: vec![server(1, Some(first)), server(2, None)],
        server_deletes: vec![ServerDelete { id: id(3), expected: Expected::Exactly(first) }],
        documents: vec![document("policy", "a", Expected::Any)],
        document_deletes: vec![],
        events: vec![event("purposed", 1)],
    };
    let refused = store.commit(failing.clone()).await;
    assert!(
        matches!(&refused, Err(StoreError::Conflict { key, .. }) if *key == Key::Server(id(3)))
    );
    assert_eq!(store.servers(&[id(1)]).await.unwrap()[0].revision, first);
    assert!(store.servers(&[id(2), id(3)]).await.unwrap().is_empty());
    assert_eq!(store.document("policy", "a").await.unwrap(), None);
    assert!(store.events(&EventFilter::default(), 0, 10).await.unwrap().is_empty());

    let mut mended = failing;
    mended.server_deletes.clear();
    let second = write(&store, mended).await;
    assert!(second.revision > first);
    assert_eq!(store.servers(&[id(1), id(2)]).await.unwrap().len(), 2);
    let deleting = Changes {
        server_deletes: vec![ServerDelete {
            id: id(1),
            expected: Expected::Exactly(second.revision),
        }],
        document_deletes: vec![DocumentDelete {
            kind: "policy".into(),
            key: "a".into(),
            expected: Expected::Exactly(second.revision),
        }],
        ..Changes::default()
    };
    write(&store, deleting).await;
    assert_eq!(store.servers(&[id(1), id(2)]).await.unwrap().len(), 1);
    assert_eq!(store.document("policy", "a").await.unwrap(), None);
}

async fn a_conflict_names_the_row_and_what_is_there(database: Arc<Database>) {
    let store = database.open().await;
    let a = Key::Document { kind: "policy".into(), key: "a".into() };
    let put = |expected| documents([document("policy", "a", expected)]);
    let conflict = |result: Result<_, StoreError>| match result {
        Err(StoreError::Conflict { key, expected, found }) => (key, expected, found),
        other => panic!("{other:?}"),
    };
    let exactly = Expected::Exactly;
    assert_eq!(conflict(store.commit(put(exactly(3))).await), (a.clone(), exactly(3), None));
    let first = write(&store, put(Expected::MustNotExist)).await.revision;
    let found = conflict(store.commit(put(Expected::MustNotExist)).await);
    assert_eq!(found, (a.clone(), Expected::MustNotExist, Some(first)));
    let second = write(&store, put(exactly(first))).await.revision;
    let found = conflict(store.commit(put(exactly(first))).await);
    assert_eq!(found, (a, exactly(first), Some(second)));
    assert!(write(&store, put(Expected::Any)).await.revision > second);
    write(&store, servers([server(1, None)])).await;
    let found = conflict(store.commit(servers([server(1, None)])).await);
    assert_eq!((found.0, found.1), (Key::Server(id(1)), Expected::MustNotExist));
}

async fn a_row_made_anew_is_not_the_old_one(database: Arc<Database>) {
    let store = database.open().await;
    let old = write(&store, servers([server(1, None)])).await.revision;
    let gone = ServerDelete { id: id(1), expected: Expected::Any };
    write(&store, Changes { server_deletes: vec![gone], ..Changes::default() }).await;
    write(&store, servers([server(1, None)])).await;
    let late = store.commit(servers([server(1, Some(old))])).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })));
}

async fn one_of_many_writers_wins(database: Arc<Database>) {
    let store = database.open().await;
    let revision = write(&store, servers([server(1, None)])).await.revision;
    contest(&database, store, Some(revision)).await;
}

async fn one_of_many_creators_wins(database: Arc<Database>) {
    let store = database.open().await;
    contest(&database, store, None).await;
}

async fn contest(database: &Database, store: Arc<dyn Store>, expected: Option<i64>) {
    const WRITERS: u64 = 12;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = database.beside(&store).await;
        let put = ServerPut { doc: writer.to_string(), ..server(1, expected) };
        writers.push(tokio::spawn(async move { store.commit(servers([put])).await }));
    }
    let mut winners = Vec::new();
    for (writer, task) in writers.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(committed) => winners.push((writer.to_string(), committed.revision)),
            Err(StoreError::Conflict { key, .. }) => assert_eq!(key, Key::Server(id(1))),
            Err(other) => panic!("{other:?}"),
        }
    }
    let row = store.servers(&[id(1)]).await.unwrap().remove(0);
    assert_eq!(winners, [(row.doc, row.revision)]);
}

async fn batches_in_any_order_do_not_lock_each_other_out(database: Arc<Database>) {
    const ROWS: u64 = 40;
    let store = database.open().await;
    let kinds = |key: u64| document("policy", &key.to_string(), Expected::Any);
    let mut writers = Vec::new();
    for writer in 0..6_u64 {
        let store = database.beside(&store).await;
        writers.push(tokio::spawn(async move {
            for round in 0..10 {
                let mut keys: Vec<u64> = (0..ROWS).collect();
                keys.rotate_left(usize::try_from((writer * 7 + round) % ROWS).unwrap());
                if writer % 2 == 0 {
                    keys.reverse();
                }
                write(&store, documents(keys.into_iter().map(kinds))).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.documents("policy", None, 1_000).await.unwrap().len(), 40);
}

async fn a_commit_goes_on_without_its_caller(database: Arc<Database>) {
    let store = database.open().await;
    let mut news = store.changes();
    let abandoned = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(servers((0..500).map(|n| server(n, None)))).await })
    };
    tokio::task::yield_now().await;
    abandoned.abort();
    if abandoned.await.is_err() {
        // Aborted before it was begun, or in the middle: nothing, or all with its news.
        let store = store.clone();
        write(&store, documents([document("fence", "a", Expected::Any)])).await;
    }
    let _ = news.recv().await.unwrap();
    let rows = store.list_servers(&ServerFilter::default(), None, 1_000).await.unwrap().len();
    assert!(rows == 0 || rows == 500, "{rows}");
}

async fn what_is_too_large_is_refused(database: Arc<Database>) {
    let store = database.open().await;
    let largest = ServerPut { doc: "x".repeat(limits::DOC_BYTES), ..server(1, None) };
    write(&store, servers([largest.clone()])).await;
    let larger = ServerPut { doc: largest.doc + "x", ..server(2, None) };
    let refused = store.commit(servers([larger])).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let many = 0..u64::try_from(limits::COMMIT_ROWS).unwrap() + 1;
    let refused = store.commit(servers(many.map(|n| server(n + 10, None)))).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let twice = store.commit(servers([server(3, None), server(3, None)])).await;
    assert!(matches!(twice, Err(StoreError::Twice { key: Key::Server(_) })));
    assert_eq!(store.list_servers(&ServerFilter::default(), None, 10).await.unwrap().len(), 1);
}
