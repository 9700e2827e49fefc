//! Lists come in pages by key; what expires goes.

use std::sync::Arc;

use repave_controller::store::changes::{DocumentPut, Expected, ServerPut};
use repave_controller::store::{ServerFilter, limits};

use crate::fixture::{Database, document, documents, id, on_both, server, servers, write};

on_both!(servers_page_by_page, servers_by_column, documents_page_by_page, what_expires_goes);

async fn servers_page_by_page(database: Arc<Database>) {
    let store = database.open().await;
    let count = u64::try_from(limits::PAGE_ROWS).unwrap() * 2 + 5;
    write(&store, servers((0..count).rev().map(|n| server(n, None)))).await;
    let page = store.list_servers(&ServerFilter::default(), Some(id(6)), 3).await.unwrap();
    assert_eq!(page.iter().map(|row| row.id).collect::<Vec<_>>(), [id(7), id(8), id(9)]);
    let most = store.list_servers(&ServerFilter::default(), None, usize::MAX).await.unwrap();
    assert_eq!(most.len(), limits::PAGE_ROWS);
    let mut all = Vec::new();
    store.all_servers(&mut |row| all.push(row.id)).await.unwrap();
    assert_eq!(all, (0..count).map(id).collect::<Vec<_>>());
}

async fn servers_by_column(database: Arc<Database>) {
    let store = database.open().await;
    let put = |n: u64| ServerPut {
        standing: if n.is_multiple_of(2) { "ready".into() } else { "lost".into() },
        server_type: (!n.is_multiple_of(3)).then(|| format!("type-{}", n % 3)),
        seen_at_ms: i64::try_from(n).unwrap(),
        ..server(n, None)
    };
    write(&store, servers((0..12).map(put))).await;
    let check = async |filter: ServerFilter, expected: &[u64]| {
        let found = store.list_servers(&filter, None, 100).await.unwrap();
        let expected: Vec<_> = expected.iter().copied().map(id).collect();
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
    };
    let all = ServerFilter::default;
    check(ServerFilter { standing: Some("lost".into()), ..all() }, &[1, 3, 5, 7, 9, 11]).await;
    check(ServerFilter { server_type: Some("type-1".into()), ..all() }, &[1, 4, 7, 10]).await;
    check(ServerFilter { seen_before_ms: Some(3), ..all() }, &[0, 1, 2]).await;
    let both = ServerFilter {
        standing: Some("lost".into()),
        server_type: Some("type-1".into()),
        seen_before_ms: Some(7),
    };
    check(both, &[1]).await;
}

async fn documents_page_by_page(database: Arc<Database>) {
    let store = database.open().await;
    // In the order of bytes, whatever the database's locale thinks of capitals and umlauts.
    let keys = ["A", "B", "a", "a-b", "aB", "b", "z", "ä"];
    let put = |key: &&str| document("policy", key, Expected::MustNotExist);
    write(&store, documents(keys.iter().rev().map(put))).await;
    write(&store, documents([document("token", "c", Expected::Any)])).await;
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = store.documents("policy", after.as_deref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        read.extend(page.into_iter().map(|row| row.key));
    }
    assert_eq!(read, keys);
}

async fn what_expires_goes(database: Arc<Database>) {
    let store = database.open().await;
    let until = |key: &str, expires_at_ms| DocumentPut {
        expires_at_ms,
        ..document("idempotency", key, Expected::Any)
    };
    write(&store, documents([until("a", Some(10)), until("b", Some(20)), until("c", None)])).await;
    assert_eq!(store.expire_documents(9).await.unwrap(), 0);
    assert_eq!(store.expire_documents(10).await.unwrap(), 1);
    assert_eq!(store.document("idempotency", "a").await.unwrap(), None);
    assert_eq!(store.expire_documents(i64::MAX).await.unwrap(), 1);
    let left = store.documents("idempotency", None, 10).await.unwrap();
    assert_eq!(left.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["c"]);
    let many = (0..9_000).map(|n| until(&n.to_string(), Some(5)));
    write(&store, documents(many)).await;
    assert_eq!(store.expire_documents(5).await.unwrap(), 9_000);
}
