//! Bringing a database to this version's schema, and refusing one that is ahead of it. A migration
//! that was released is never edited: its digest is in every database it went to.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Acquire, SqlSafeStr};
use std::ops::Deref;
use tokio::time::timeout;

use super::error::StoreError;
use super::limits;
use super::place::Place;

/// The SQL of each version, oldest first; the first is version 1.
pub(super) struct Schema(pub(super) &'static [(&'static str, &'static str)]);

pub(super) const SQLITE: Schema =
    Schema(&[("store", include_str!("../../migrations/sqlite/0001_store.sql"))]);
pub(super) const POSTGRES: Schema =
    Schema(&[("store", include_str!("../../migrations/postgres/0001_store.sql"))]);

impl Schema {
    fn newest(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    fn migrator(&self) -> Migrator {
        let numbered = (1..).zip(self.0);
        let migrations = numbered.map(|(version, &(name, sql))| {
            let sql = sql.into_sql_str();
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        Migrator::with_migrations(migrations.collect())
    }

    /// Migrates over `connection`. Controllers that start together take turns.
    pub(super) async fn bring<'a, A>(&self, connection: A, place: &Place) -> Result<(), StoreError>
    where
        A: Acquire<'a>,
        <A::Connection as Deref>::Target: sqlx::migrate::Migrate,
    {
        const DOING: &str = "bring the schema up to date";
        let limit = limits::MIGRATION;
        match timeout(limit, self.migrator().run(connection)).await {
            Err(_) => Err(StoreError::Slow { place: place.clone(), doing: DOING, limit }),
            Ok(Ok(())) => Ok(()),
            Ok(Err(MigrateError::VersionMissing(found))) if found > self.newest() => {
                Err(StoreError::Newer { place: place.clone(), found, known: self.newest() })
            }
            Ok(Err(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _))) => {
                Err(place.failed(DOING, source))
            }
            Ok(Err(source)) => Err(StoreError::Altered { place: place.clone(), source }),
        }
    }
}
