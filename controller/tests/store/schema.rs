//! Opening: what is private stays so, what is newer is refused, a copy is a database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use repave_controller::store::{self, StoreError};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::fixture::id;
use crate::fixture::{Database, on_both, run, server, servers, write};

on_both!(what_was_written_is_there_after_opening_again, a_newer_schema_is_refused);

async fn what_was_written_is_there_after_opening_again(database: Arc<Database>) {
    let store = database.open().await;
    write(&store, servers([server(1, None)])).await;
    store.close().await;
    assert!(store.servers(&[id(1)]).await.unwrap_err().is_passing());
    drop(store);
    let store = database.open().await;
    assert_eq!(store.servers(&[id(1)]).await.unwrap().len(), 1);
}

const FUTURE: &str = "INSERT INTO _sqlx_migrations \
    (version, description, success, checksum, execution_time) VALUES (99, 'later', TRUE, '', 0)";

async fn a_newer_schema_is_refused(database: Arc<Database>) {
    database.open().await.close().await;
    if let Some(url) = &database.url {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query(FUTURE).execute(&mut connection).await.unwrap();
    } else {
        let file = database.folder().join("controller.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(FUTURE).execute(&mut connection).await.unwrap();
    }
    let refused = database.try_open().await.err().unwrap();
    assert!(matches!(refused, StoreError::Newer { found: 99, known: 1, .. }), "{refused:?}");
    assert!(refused.to_string().contains("start the newer version again"), "{refused}");
}

#[test]
fn the_file_is_private_and_for_one_controller() {
    run(Database::sqlite(), async |database| {
        let store = database.open().await;
        write(&store, servers([server(1, None)])).await;
        let mut files = 0;
        for file in fs::read_dir(database.folder()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.file_name());
            files += 1;
        }
        assert!(files >= 3, "database, its log and the lock");
        let second = database.try_open().await.err().unwrap();
        assert!(matches!(second, StoreError::InUse { .. }));
        assert!(second.to_string().contains("controller.db is in use"), "{second}");
        store.close().await;
        drop(store);
        database.open().await;
    });
}

#[test]
fn a_backup_is_a_database_and_writes_over_nothing() {
    run(Database::sqlite(), async |database| {
        let store = database.open().await;
        write(&store, servers((0..50).map(|n| server(n, None)))).await;
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("controller.db");
        store.backup(&copy).await.unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let again = store.backup(&copy).await;
        assert!(matches!(again, Err(StoreError::Io { .. })), "{again:?}");
        write(&store, servers([server(50, None)])).await;
        let copied = store::open(None, elsewhere.path()).await.unwrap();
        let mut rows = 0;
        copied.all_servers(&mut |_| rows += 1).await.unwrap();
        assert_eq!(rows, 50);
    });
}

#[test]
fn no_other_kind_of_url_is_taken_nor_shown() {
    run(Database::sqlite(), async |database| {
        for url in ["mysql://u:s3cret@h/d", "controller.db", "", "postgres://u:s3cret@h:x/d"] {
            let refused = store::open(Some(url), database.folder()).await.err().unwrap();
            assert!(matches!(refused, StoreError::BadUrl { .. }), "{refused:?}");
            assert!(!format!("{refused} {refused:?}").contains("s3cret"));
        }
    });
}
