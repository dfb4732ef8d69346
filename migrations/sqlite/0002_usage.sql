-- Roll-ups of usage. Times are milliseconds since the Unix epoch.

CREATE TABLE usage (
    bucket INTEGER NOT NULL,       -- 0: minute, 1: hour, 2: day
    detail INTEGER NOT NULL,       -- 0: by project, model and key; 1: by project
    start  INTEGER NOT NULL,
    series TEXT NOT NULL,          -- JSON array: project, model, key
    totals BLOB NOT NULL,          -- nine little-endian unsigned 64-bit numbers
    PRIMARY KEY (bucket, detail, start, series)
) WITHOUT ROWID;

-- The last batch of each instance, so that one that is sent again is not added again.
CREATE TABLE usage_batches (
    instance TEXT PRIMARY KEY,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL
) WITHOUT ROWID;
