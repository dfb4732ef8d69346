-- How long requests took, beside the roll-ups of usage. A roll-up with detail 2 is by project, model, key, endpoint and
-- user: its series is a JSON array of the five.

CREATE TABLE usage_latency (
    bucket    INTEGER NOT NULL,
    detail    INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    series    TEXT NOT NULL,
    latencies BLOB NOT NULL,       -- for each bucket of latency its number in 2 bytes and its count in 4, little-endian
    PRIMARY KEY (bucket, detail, start, series)
) WITHOUT ROWID;
