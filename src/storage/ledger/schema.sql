-- The ledger: the entries (`body`, JSON) in order; `hash` covers the entry and all entries before it. All other columns
-- are generated from the body, so the columns that queries use cannot disagree with it.
CREATE TABLE entries (
    seq                 INTEGER PRIMARY KEY,
    body                TEXT    NOT NULL,
    hash                BLOB    NOT NULL,
    id                  TEXT    NOT NULL GENERATED ALWAYS AS (body ->> 'id') VIRTUAL,
    kind                TEXT    NOT NULL GENERATED ALWAYS AS (body ->> 'kind') VIRTUAL,
    at_ms               INTEGER NOT NULL GENERATED ALWAYS AS (body ->> 'at_ms') VIRTUAL,
    client              TEXT    NOT NULL GENERATED ALWAYS AS (body ->> 'client') VIRTUAL,
    outcome             TEXT    NOT NULL GENERATED ALWAYS AS (body ->> 'outcome') VIRTUAL,
    flight              TEXT             GENERATED ALWAYS AS (body ->> 'flight') VIRTUAL,
    reference           TEXT             GENERATED ALWAYS AS (body ->> 'reference') VIRTUAL,
    subject             TEXT             GENERATED ALWAYS AS (body -> 'subject' ->> 'digest') VIRTUAL,
    provider            TEXT             GENERATED ALWAYS AS (body ->> 'provider') VIRTUAL,
    provider_request_id TEXT             GENERATED ALWAYS AS (body ->> 'provider_request_id') VIRTUAL,
    billed              TEXT             GENERATED ALWAYS AS (body ->> 'billed') VIRTUAL,
    price_micro_yuan    INTEGER          GENERATED ALWAYS AS (body ->> 'price_micro_yuan') VIRTUAL
) STRICT;

-- Makes a repeated write harmless: after a crash it may be unknown whether an entry was written.
CREATE UNIQUE INDEX entries_by_id ON entries (id);
CREATE INDEX answers_by_client ON entries (client, seq) WHERE kind = 'answer';
CREATE INDEX answers_by_reference ON entries (reference, seq) WHERE reference IS NOT NULL;
CREATE INDEX answers_by_subject ON entries (subject, seq) WHERE kind = 'answer';
CREATE INDEX calls_by_flight ON entries (flight, seq) WHERE kind = 'call';
CREATE INDEX calls_by_their_reference ON entries (provider, provider_request_id) WHERE kind = 'call';

-- The last entry removed by retention: the hash of the first remaining entry is checked against it.
CREATE TABLE removed (
    seq  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL
) STRICT;
