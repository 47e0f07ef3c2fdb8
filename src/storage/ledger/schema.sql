-- The ledger. `entries` is the truth: append-only, each row sealed by the hash of all before it. The other tables only
-- find rows in it and can be made anew from it.

CREATE TABLE entries (
    seq   INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    body  TEXT    NOT NULL,
    hash  BLOB    NOT NULL
) STRICT;

-- What retention has removed: the last entry that is gone, so that the first that is left can still be checked.
CREATE TABLE removed (
    seq  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL
) STRICT;

CREATE TABLE answers (
    seq       INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL UNIQUE,
    at_ms     INTEGER NOT NULL,
    client    TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    reference TEXT,
    provider  TEXT,
    subject   TEXT
) STRICT;
CREATE INDEX answers_by_client ON answers (client, seq);
CREATE INDEX answers_by_reference ON answers (reference, seq) WHERE reference IS NOT NULL;
CREATE INDEX answers_by_subject ON answers (subject, seq) WHERE subject IS NOT NULL;

CREATE TABLE calls (
    seq                 INTEGER PRIMARY KEY,
    at_ms               INTEGER NOT NULL,
    flight              BLOB    NOT NULL,
    provider            TEXT    NOT NULL,
    client              TEXT    NOT NULL,
    purpose             TEXT    NOT NULL,
    outcome             TEXT    NOT NULL,
    billed              TEXT    NOT NULL,
    price_micro_yuan    INTEGER NOT NULL,
    provider_request_id TEXT
) STRICT;
CREATE INDEX calls_by_flight ON calls (flight);
CREATE INDEX calls_by_reference ON calls (provider, provider_request_id) WHERE provider_request_id IS NOT NULL;
