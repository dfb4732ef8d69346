-- The first layout of keyward.db. Times are milliseconds since the Unix epoch.

-- Truth for standings: written before a change is acknowledged, read back at the start.
CREATE TABLE standings (
    subject    TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    until      INTEGER,            -- null: permanent, or clear
    in_force   INTEGER NOT NULL,   -- 1 until a throttle or ban is lifted or its end was noted
    keep_until INTEGER,            -- when it may be forgotten; null: never
    packed     BLOB NOT NULL,      -- the numbers: 12 little-endian doubles
    detail     TEXT NOT NULL       -- JSON
);
CREATE INDEX standings_in_force ON standings (until) WHERE in_force = 1;

-- Snapshots of windows and peers; what happened after the last one is lost in a crash.
CREATE TABLE subjects (
    subject  TEXT PRIMARY KEY,
    last_now INTEGER NOT NULL,
    state    BLOB NOT NULL         -- one byte of version, then postcard
);
CREATE INDEX subjects_by_age ON subjects (last_now);

CREATE TABLE profiles (
    subject   TEXT PRIMARY KEY,
    last_seen INTEGER NOT NULL,
    profile   BLOB NOT NULL        -- one byte of version, then postcard
);
CREATE INDEX profiles_by_age ON profiles (last_seen);

-- The security-event log. A sequence number is never given twice, also after old events were deleted.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    type     TEXT NOT NULL,
    severity INTEGER NOT NULL,
    subject  TEXT,
    json     TEXT NOT NULL         -- without the id, which is made of time and seq
);
CREATE INDEX events_by_time ON events (time);
CREATE INDEX events_by_subject ON events (subject, seq) WHERE subject IS NOT NULL;
CREATE INDEX events_by_type ON events (type, seq);

CREATE TABLE documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;

CREATE TABLE peppers (
    name        TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('documents_revision', 0);
