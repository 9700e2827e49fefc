//! An empty database for one case, and short ways to say what is written to it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use repave_controller::store::changes::{
    Changes, Committed, DocumentPut, EventPut, Expected, ServerPut,
};
use repave_controller::store::{self, Store, StoreError};
use repave_protocol::ServerId;
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::postgres;

/// Where a case runs.
pub(crate) struct Database {
    pub(crate) url: Option<String>,
    folder: TempDir,
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self { url: None, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn postgres() -> Self {
        Self { url: Some(postgres::shared().database()), ..Self::sqlite() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        store::open(self.url.as_deref(), self.folder()).await
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.try_open().await.unwrap()
    }

    /// The store as another controller has it: over connections of its own, where that can be.
    pub(crate) async fn beside(&self, first: &Arc<dyn Store>) -> Arc<dyn Store> {
        if self.url.is_some() { self.open().await } else { first.clone() }
    }
}

pub(crate) fn run<F: Future<Output = ()>>(
    database: Database,
    case: impl FnOnce(Arc<Database>) -> F,
) {
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(case(Arc::new(database)));
}

/// Makes a test of each case for each database.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $case() {
                crate::fixture::run(crate::fixture::Database::sqlite(), super::$case);
            })*
        }
        mod postgres {
            $(#[test]
            fn $case() {
                crate::fixture::run(crate::fixture::Database::postgres(), super::$case);
            })*
        }
    };
}
pub(crate) use on_both;

pub(crate) fn id(number: u64) -> ServerId {
    format!("{number:064x}").parse().unwrap()
}

pub(crate) fn server(number: u64, expected: Option<i64>) -> ServerPut {
    ServerPut {
        id: id(number),
        expected,
        standing: "ready".into(),
        server_type: None,
        seen_at_ms: 0,
        doc: "{}".into(),
    }
}

pub(crate) fn document(kind: &str, key: &str, expected: Expected) -> DocumentPut {
    DocumentPut {
        kind: kind.into(),
        key: key.into(),
        expected,
        expires_at_ms: None,
        doc: "{}".into(),
    }
}

pub(crate) fn event(kind: &str, at_ms: i64) -> EventPut {
    EventPut { at_ms, server: None, kind: kind.into(), actor: None, doc: "{}".into() }
}

pub(crate) fn servers(puts: impl IntoIterator<Item = ServerPut>) -> Changes {
    Changes { servers: puts.into_iter().collect(), ..Changes::default() }
}

pub(crate) fn documents(puts: impl IntoIterator<Item = DocumentPut>) -> Changes {
    Changes { documents: puts.into_iter().collect(), ..Changes::default() }
}

pub(crate) fn events(puts: impl IntoIterator<Item = EventPut>) -> Changes {
    Changes { events: puts.into_iter().collect(), ..Changes::default() }
}

/// Commits what must succeed.
pub(crate) async fn write(store: &Arc<dyn Store>, changes: Changes) -> Committed {
    store.commit(changes).await.unwrap()
}
