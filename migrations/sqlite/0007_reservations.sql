-- Reservations say more of themselves. Those that were open end with their counters; nothing is held of them any longer.

DROP TABLE leases;

CREATE TABLE reservations (
    id          TEXT PRIMARY KEY,
    charged_at  INTEGER NOT NULL,
    reservation BLOB NOT NULL      -- one byte of version, then postcard
) WITHOUT ROWID;
