-- The tables of the record. `~` stands for the schema. A partition of entries holds the ids of one month.
CREATE TABLE ~entries (
    id uuid PRIMARY KEY,
    replica text NOT NULL,
    book integer NOT NULL,
    seq bigint NOT NULL,
    seal bytea NOT NULL,
    body text NOT NULL,
    kind text NOT NULL,
    at_ms bigint NOT NULL,
    client text NOT NULL,
    outcome text NOT NULL,
    subject bytea,
    provider text,
    flight uuid,
    reference text,
    billed text,
    reason text,
    price bigint
) PARTITION BY RANGE (id);
-- Entries are text of a kilobyte that is hardly ever read again: looking for a place out of line costs more than it saves.
CREATE INDEX ON ~entries (client, id) WHERE kind = 'answer';
CREATE INDEX ON ~entries (subject, id) WHERE subject IS NOT NULL AND kind <> 'call';
CREATE INDEX ON ~entries (reference, id) WHERE reference IS NOT NULL;
CREATE INDEX ON ~entries (flight) WHERE kind = 'call';
CREATE INDEX ON ~entries (provider, at_ms) WHERE kind = 'call';
CREATE INDEX ON ~entries (provider, id) WHERE kind = 'operation';

-- The last entry of each book, and the last one of the replica when the book was opened.
CREATE TABLE ~heads (
    replica text NOT NULL,
    book integer NOT NULL,
    seq bigint NOT NULL,
    seal bytea NOT NULL,
    after_book integer,
    after_seq bigint,
    after_seal bytea,
    PRIMARY KEY (replica, book)
);

-- seen_ms is by the clock of the database.
CREATE TABLE ~replicas (
    replica text PRIMARY KEY,
    incarnation bytea NOT NULL,
    version text NOT NULL,
    seen_ms bigint NOT NULL
);

CREATE TABLE ~daily (
    day bigint NOT NULL,
    replica text NOT NULL,
    provider text NOT NULL,
    client text NOT NULL,
    used_up boolean NOT NULL,
    calls bigint NOT NULL,
    micro_yuan bigint NOT NULL,
    billed bigint NOT NULL,
    PRIMARY KEY (day, replica, provider, client, used_up)
);

CREATE TABLE ~claims (
    key bytea PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    at_ms bigint NOT NULL,
    subject bytea NOT NULL,
    body text NOT NULL,
    replica text NOT NULL,
    term integer NOT NULL DEFAULT 0,
    answer text
);
CREATE INDEX ON ~claims (subject);
CREATE INDEX ON ~claims (at_ms);

CREATE TABLE ~forgotten (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms bigint NOT NULL,
    person bytea NOT NULL
);
CREATE INDEX ON ~forgotten (person);

CREATE TABLE ~retention (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), believed_ms bigint NOT NULL);

CREATE TABLE ~format (version integer NOT NULL, oldest_writer integer NOT NULL);
INSERT INTO ~format VALUES (1, 1);
