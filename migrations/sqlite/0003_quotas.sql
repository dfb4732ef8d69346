-- Limits beyond the windows of a subject, and reservations: snapshots, as of windows.

CREATE TABLE quotas (
    scope   TEXT NOT NULL,
    id      INTEGER NOT NULL,      -- which limit, hashed; the bits of an unsigned number
    amounts BLOB NOT NULL,         -- one byte of version, then postcard: amounts with the moments they count until
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;

CREATE TABLE leases (
    id         TEXT PRIMARY KEY,
    charged_at INTEGER NOT NULL,
    lease      BLOB NOT NULL       -- one byte of version, then postcard
) WITHOUT ROWID;
