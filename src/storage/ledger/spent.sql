-- What was spent, and how packages were used, is read from this index alone; a usage export is compared by it.
ALTER TABLE entries ADD COLUMN reason TEXT GENERATED ALWAYS AS (body ->> 'reason') VIRTUAL;
CREATE INDEX calls_by_time ON entries (at_ms, provider, client, outcome, reason, billed, price_micro_yuan) WHERE kind = 'call';
