-- How far each sink has come in the log, and what it would not take.
CREATE TABLE sinks (
    name     TEXT PRIMARY KEY,
    owner    TEXT NOT NULL,
    until    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    position TEXT NOT NULL,        -- pairs of numbers; empty: new
    state    BLOB NOT NULL         -- the sender's own business
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    sink     TEXT NOT NULL,
    event_id TEXT NOT NULL,
    again    INTEGER NOT NULL,     -- 1: to be sent again
    json     TEXT NOT NULL,
    PRIMARY KEY (sink, event_id)
) WITHOUT ROWID;
