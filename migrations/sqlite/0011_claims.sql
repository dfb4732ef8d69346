-- Requests with an identity, for as long as a retry of one is recognised: so it is after a restart, too.
-- `answer` is NULL while nobody has answered.

CREATE TABLE claims (
  name   TEXT PRIMARY KEY,
  ends   INTEGER NOT NULL,
  answer BLOB
) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (ends);
