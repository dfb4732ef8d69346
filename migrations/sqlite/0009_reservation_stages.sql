-- Reservations have stages. Those that were open end with their counters; nothing is held of them any longer.

DROP TABLE reservations;

CREATE TABLE reservations (
    id          TEXT PRIMARY KEY,
    charged_at  INTEGER NOT NULL,
    stage       INTEGER NOT NULL,  -- 0 held, 1 dispatched, 2 charged, 3 lapsed, 4 corrected
    until       INTEGER NOT NULL,  -- when it ends, or ended, ms
    counted     INTEGER NOT NULL,  -- whether usage has its estimate
    reservation BLOB NOT NULL      -- one byte of version, then postcard
) WITHOUT ROWID;
