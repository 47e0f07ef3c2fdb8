-- The ledger: what was written (`body`, JSON), in order, each sealed by the hash of all before it. Everything else is
-- read out of the body by the database itself, so that what finds an entry can never disagree with it.
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

-- An entry that is written again, because nobody could tell whether it had been, is there once.
CREATE UNIQUE INDEX entries_by_id ON entries (id);
CREATE INDEX answers_by_client ON entries (client, seq) WHERE kind = 'answer';
CREATE INDEX answers_by_reference ON entries (reference, seq) WHERE reference IS NOT NULL;
CREATE INDEX answers_by_subject ON entries (subject, seq) WHERE kind = 'answer';
CREATE INDEX calls_by_flight ON entries (flight, seq) WHERE kind = 'call';
CREATE INDEX calls_by_their_reference ON entries (provider, provider_request_id) WHERE kind = 'call';

-- The last entry that retention has removed, so that the first which is left can still be checked.
CREATE TABLE removed (
    seq  INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL
) STRICT;
