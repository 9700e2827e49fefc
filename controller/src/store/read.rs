//! The questions that both databases understand in the same words: pages of rows, built once for
//! either. Pages go by key, never by number, so a row that comes or goes meanwhile moves no other.

use sqlx::{ColumnIndex, Database, Decode, Encode, FromRow, QueryBuilder, Row, Type};

use super::limits;
use super::row::{DocumentRow, EventFilter, EventRow, ServerFilter, ServerRow};
use repave_protocol::ServerId;

pub(super) const SERVER_COLUMNS: &str =
    "SELECT id, revision, standing, server_type, seen_at_ms, doc FROM servers";
const DOCUMENT_COLUMNS: &str = "SELECT kind, key, revision, expires_at_ms, doc FROM documents";
const EVENT_COLUMNS: &str = "SELECT sequence, at_ms, server, kind, actor, doc FROM events";

/// A query with conditions, joined by AND.
struct Conditions<DB: Database> {
    query: QueryBuilder<DB>,
    any: bool,
}

impl<DB: Database> Conditions<DB> {
    fn new(select: &str) -> Self
    where
        DB::Arguments: Default,
    {
        Self { query: QueryBuilder::new(select), any: false }
    }

    fn and<T>(&mut self, condition: &str, value: Option<T>)
    where
        T: Type<DB> + for<'a> Encode<'a, DB>,
    {
        let Some(value) = value else { return };
        let joint = if self.any { " AND " } else { " WHERE " };
        self.any = true;
        self.query.push(joint).push(condition).push_bind(value);
    }

    fn page(mut self, order: &str, limit: usize) -> QueryBuilder<DB>
    where
        i64: Type<DB> + for<'a> Encode<'a, DB>,
    {
        let limit = i64::try_from(limit.min(limits::PAGE_ROWS)).unwrap_or(i64::MAX);
        self.query.push(order).push(" LIMIT ").push_bind(limit);
        self.query
    }
}

pub(super) fn servers<DB>(
    filter: &ServerFilter,
    after: Option<ServerId>,
    limit: usize,
) -> QueryBuilder<DB>
where
    DB: Database<Arguments: Default>,
    String: Type<DB> + for<'a> Encode<'a, DB>,
    i64: Type<DB> + for<'a> Encode<'a, DB>,
{
    let mut page = Conditions::new(SERVER_COLUMNS);
    page.and("standing = ", filter.standing.clone());
    page.and("server_type = ", filter.server_type.clone());
    page.and("seen_at_ms < ", filter.seen_before_ms);
    page.and("id > ", after.map(|id| id.to_string()));
    page.page(" ORDER BY id", limit)
}

pub(super) fn document<DB>(kind: &str, key: &str) -> QueryBuilder<DB>
where
    DB: Database<Arguments: Default>,
    String: Type<DB> + for<'a> Encode<'a, DB>,
{
    let mut one = Conditions::new(DOCUMENT_COLUMNS);
    one.and("kind = ", Some(kind.to_owned()));
    one.and("key = ", Some(key.to_owned()));
    one.query
}

pub(super) fn documents<DB>(kind: &str, after: Option<&str>, limit: usize) -> QueryBuilder<DB>
where
    DB: Database<Arguments: Default>,
    String: Type<DB> + for<'a> Encode<'a, DB>,
    i64: Type<DB> + for<'a> Encode<'a, DB>,
{
    let mut page = Conditions::new(DOCUMENT_COLUMNS);
    page.and("kind = ", Some(kind.to_owned()));
    page.and("key > ", after.map(str::to_owned));
    page.page(" ORDER BY key", limit)
}

/// From which event on, and in which direction.
pub(super) enum EventPage {
    After(i64),
    NewestBefore(Option<i64>),
}

pub(super) fn events<DB>(filter: &EventFilter, from: EventPage, limit: usize) -> QueryBuilder<DB>
where
    DB: Database<Arguments: Default>,
    String: Type<DB> + for<'a> Encode<'a, DB>,
    i64: Type<DB> + for<'a> Encode<'a, DB>,
{
    let mut page = Conditions::new(EVENT_COLUMNS);
    page.and("server = ", filter.server.map(|id| id.to_string()));
    page.and("kind = ", filter.kind.clone());
    match from {
        EventPage::After(sequence) => {
            page.and("sequence > ", Some(sequence));
            page.page(" ORDER BY sequence", limit)
        }
        EventPage::NewestBefore(sequence) => {
            page.and("sequence < ", sequence);
            page.page(" ORDER BY sequence DESC", limit)
        }
    }
}

fn server_id<'r, R>(row: &'r R, column: &'static str) -> Result<Option<ServerId>, sqlx::Error>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse()).transpose().map_err(|error: repave_protocol::BadId| {
        sqlx::Error::ColumnDecode { index: column.into(), source: error.into() }
    })
}

impl<'r, R> FromRow<'r, R> for ServerRow
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: server_id(row, "id")?.ok_or(sqlx::Error::RowNotFound)?,
            revision: row.try_get("revision")?,
            standing: row.try_get("standing")?,
            server_type: row.try_get("server_type")?,
            seen_at_ms: row.try_get("seen_at_ms")?,
            doc: row.try_get("doc")?,
        })
    }
}

impl<'r, R> FromRow<'r, R> for DocumentRow
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            revision: row.try_get("revision")?,
            expires_at_ms: row.try_get("expires_at_ms")?,
            doc: row.try_get("doc")?,
        })
    }
}

impl<'r, R> FromRow<'r, R> for EventRow
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            at_ms: row.try_get("at_ms")?,
            server: server_id(row, "server")?,
            kind: row.try_get("kind")?,
            actor: row.try_get("actor")?,
            doc: row.try_get("doc")?,
        })
    }
}
