-- Text is compared byte by byte (COLLATE "C"), as SQLite does it, whatever the server's locale is:
-- pages come in the same order from both.

-- A row's revision is the number of the commit that wrote it last; gaps are commits that failed.
CREATE SEQUENCE revisions;

CREATE TABLE servers (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    revision bigint NOT NULL,
    standing text COLLATE "C" NOT NULL,
    server_type text COLLATE "C",
    seen_at_ms bigint NOT NULL,
    doc text NOT NULL
);
CREATE INDEX servers_by_standing ON servers (standing, id);
CREATE INDEX servers_by_server_type ON servers (server_type, id);
CREATE INDEX servers_by_seen_at ON servers (seen_at_ms, id);

CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    expires_at_ms bigint,
    doc text NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX documents_by_expiry ON documents (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

CREATE TABLE events (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms bigint NOT NULL,
    server text COLLATE "C",
    kind text COLLATE "C" NOT NULL,
    actor text COLLATE "C",
    doc text NOT NULL
);
CREATE INDEX events_by_server ON events (server, sequence);
CREATE INDEX events_by_kind ON events (kind, sequence);
CREATE INDEX events_by_time ON events (at_ms);
