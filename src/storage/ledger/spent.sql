-- Covers the queries for spending, package use and reconciliation, so that they do not read the table.
ALTER TABLE entries ADD COLUMN reason TEXT GENERATED ALWAYS AS (body ->> 'reason') VIRTUAL;
CREATE INDEX calls_by_time ON entries (at_ms, provider, client, outcome, reason, billed, price_micro_yuan) WHERE kind = 'call';
