-- Looks an idempotency key up: its claim, the answer that finished it, and whether its person was forgotten since.
ALTER TABLE entries ADD COLUMN claimed_key TEXT GENERATED ALWAYS AS (body ->> 'key') VIRTUAL;
ALTER TABLE entries ADD COLUMN claim TEXT GENERATED ALWAYS AS (body ->> 'claim') VIRTUAL;

CREATE INDEX claims_by_key ON entries (claimed_key, seq) WHERE kind = 'claim';
CREATE INDEX claims_by_subject ON entries (subject, seq) WHERE kind = 'claim';
CREATE INDEX answers_by_claim ON entries (claim, outcome) WHERE claim IS NOT NULL;
CREATE INDEX forgotten_by_subject ON entries (subject, seq) WHERE kind = 'forgotten';
