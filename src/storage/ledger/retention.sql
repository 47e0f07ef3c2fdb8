-- The time of an entry up to which the clock is believed. Entries that are much later do not make others expire: either
-- the clock has jumped, or nothing was asked for long; an operator knows. `ledger confirm-time` writes it.
CREATE TABLE retention (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    believed_ms INTEGER NOT NULL
) STRICT;
INSERT INTO retention SELECT 1, at_ms FROM entries ORDER BY seq DESC LIMIT 1;
