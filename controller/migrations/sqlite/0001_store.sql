-- The one row counts commits; a row's revision is the number of the commit that wrote it last.
CREATE TABLE commits (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO commits VALUES (1, 0);

CREATE TABLE servers (
    id TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    standing TEXT NOT NULL,
    server_type TEXT,
    seen_at_ms INTEGER NOT NULL,
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX servers_by_standing ON servers (standing, id);
CREATE INDEX servers_by_server_type ON servers (server_type, id);
CREATE INDEX servers_by_seen_at ON servers (seen_at_ms, id);

CREATE TABLE documents (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires_at_ms INTEGER,
    doc TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
CREATE INDEX documents_by_expiry ON documents (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

-- AUTOINCREMENT: the sequence of a pruned event is never given to another.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    server TEXT,
    kind TEXT NOT NULL,
    actor TEXT,
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_server ON events (server, sequence);
CREATE INDEX events_by_kind ON events (kind, sequence);
CREATE INDEX events_by_time ON events (at_ms);
