-- Which document changed at which revision. Only the last few thousand are kept: whoever missed more reads all documents.

CREATE TABLE document_changes (
    revision INTEGER PRIMARY KEY,  -- documents_revision after the change
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL
);
