//! The statements of a commit, table by table. Each writes all its rows at once; those that create
//! rows say which of them somebody else created first.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use repave_protocol::ServerId;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::store::changes::{Changes, DocumentPut, EventPut, Expected, Key, ServerPut};

/// Locks the rows of `touched` that exist, in order, and gives their revisions.
pub(super) async fn lock(
    connection: &mut PgConnection,
    touched: &[(Key, Expected)],
) -> Result<HashMap<Key, i64>, sqlx::Error> {
    let (mut servers, mut kinds, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (key, _) in touched {
        match key {
            Key::Server(id) => servers.push(id.to_string()),
            Key::Document { kind, key } => {
                kinds.push(kind.as_str());
                keys.push(key.as_str());
            }
        }
    }
    let mut found = HashMap::with_capacity(touched.len());
    if !servers.is_empty() {
        let sql = "SELECT id, revision FROM servers WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        let query = sqlx::query_as::<_, (String, i64)>(sql).bind(servers);
        for (id, revision) in query.fetch_all(&mut *connection).await? {
            let id = id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            found.insert(Key::Server(id), revision);
        }
    }
    if !kinds.is_empty() {
        let sql = "SELECT documents.kind, documents.key, revision FROM documents \
                   JOIN unnest($1::text[], $2::text[]) AS wanted (kind, key) \
                   ON documents.kind = wanted.kind AND documents.key = wanted.key \
                   ORDER BY documents.kind, documents.key FOR UPDATE OF documents";
        let query = sqlx::query_as::<_, (String, String, i64)>(sql).bind(kinds).bind(keys);
        for (kind, key, revision) in query.fetch_all(connection).await? {
            found.insert(Key::Document { kind, key }, revision);
        }
    }
    Ok(found)
}

/// Writes and removes servers; gives the keys that were created by somebody else meanwhile.
pub(super) async fn servers(
    connection: &mut PgConnection,
    changes: &Changes,
    revision: i64,
) -> Result<Vec<Key>, sqlx::Error> {
    let (fresh, known): (Vec<_>, Vec<_>) =
        changes.servers.iter().partition(|put| put.expected.is_none());
    let replace = "ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, \
                   standing = excluded.standing, server_type = excluded.server_type, \
                   seen_at_ms = excluded.seen_at_ms, doc = excluded.doc";
    put_servers(connection, &known, revision, replace).await?;
    let created = put_servers(connection, &fresh, revision, "ON CONFLICT (id) DO NOTHING").await?;
    if !changes.server_deletes.is_empty() {
        let ids: Vec<_> = changes.server_deletes.iter().map(|gone| gone.id.to_string()).collect();
        let sql = "DELETE FROM servers WHERE id = ANY($1)";
        sqlx::query(sql).bind(ids).execute(connection).await?;
    }
    let created: HashSet<String> = created.into_iter().collect();
    let late = fresh.iter().filter(|put| !created.contains(&put.id.to_string()));
    Ok(late.map(|put| Key::Server(put.id)).collect())
}

async fn put_servers(
    connection: &mut PgConnection,
    puts: &[&ServerPut],
    revision: i64,
    otherwise: &'static str,
) -> Result<Vec<String>, sqlx::Error> {
    if puts.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "INSERT INTO servers (id, revision, standing, server_type, seen_at_ms, doc) \
         SELECT id, $1, standing, server_type, seen_at_ms, doc \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[]) \
         AS put (id, standing, server_type, seen_at_ms, doc) ORDER BY id COLLATE \"C\" \
         {otherwise} RETURNING id"
    );
    sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(revision)
        .bind(puts.iter().map(|put| put.id.to_string()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.standing.as_str()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.server_type.as_deref()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.seen_at_ms).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.doc.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
}

/// Writes and removes documents; gives the keys that were created by somebody else meanwhile.
pub(super) async fn documents(
    connection: &mut PgConnection,
    changes: &Changes,
    revision: i64,
) -> Result<Vec<Key>, sqlx::Error> {
    let (fresh, other): (Vec<_>, Vec<_>) =
        changes.documents.iter().partition(|put| put.expected == Expected::MustNotExist);
    let replace = "ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision, \
                   expires_at_ms = excluded.expires_at_ms, doc = excluded.doc";
    put_documents(connection, &other, revision, replace).await?;
    let keep = "ON CONFLICT (kind, key) DO NOTHING";
    let created = put_documents(connection, &fresh, revision, keep).await?;
    if !changes.document_deletes.is_empty() {
        let gone = &changes.document_deletes;
        let sql = "DELETE FROM documents USING unnest($1::text[], $2::text[]) AS gone (kind, key) \
                   WHERE documents.kind = gone.kind AND documents.key = gone.key";
        sqlx::query(sql)
            .bind(gone.iter().map(|gone| gone.kind.as_str()).collect::<Vec<_>>())
            .bind(gone.iter().map(|gone| gone.key.as_str()).collect::<Vec<_>>())
            .execute(connection)
            .await?;
    }
    let created: HashSet<_> = created.into_iter().collect();
    let keys = fresh.iter().map(|put| (put.kind.clone(), put.key.clone()));
    let late = keys.filter(|key| !created.contains(key));
    Ok(late.map(|(kind, key)| Key::Document { kind, key }).collect())
}

async fn put_documents(
    connection: &mut PgConnection,
    puts: &[&DocumentPut],
    revision: i64,
    otherwise: &'static str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    if puts.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "INSERT INTO documents (kind, key, revision, expires_at_ms, doc) \
         SELECT kind, key, $1, expires_at_ms, doc \
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) \
         AS put (kind, key, expires_at_ms, doc) ORDER BY kind COLLATE \"C\", key COLLATE \"C\" \
         {otherwise} RETURNING kind, key"
    );
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(revision)
        .bind(puts.iter().map(|put| put.kind.as_str()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.key.as_str()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.expires_at_ms).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.doc.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
}

/// Appends events in their order; the caller holds the lock. There is at least one.
pub(super) async fn events(
    connection: &mut PgConnection,
    puts: &[EventPut],
) -> Result<RangeInclusive<i64>, sqlx::Error> {
    let sql = "WITH appended AS (INSERT INTO events (at_ms, server, kind, actor, doc) \
               SELECT at_ms, server, kind, actor, doc \
               FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) \
               WITH ORDINALITY AS put (at_ms, server, kind, actor, doc, place) ORDER BY place \
               RETURNING sequence) SELECT min(sequence), max(sequence) FROM appended";
    let servers = puts.iter().map(|put| put.server.as_ref().map(ServerId::to_string));
    let (first, last): (i64, i64) = sqlx::query_as(sql)
        .bind(puts.iter().map(|put| put.at_ms).collect::<Vec<_>>())
        .bind(servers.collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.kind.as_str()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.actor.as_deref()).collect::<Vec<_>>())
        .bind(puts.iter().map(|put| put.doc.as_str()).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    Ok(first..=last)
}
