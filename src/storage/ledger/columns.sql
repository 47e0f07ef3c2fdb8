-- SQLite parsed the body of each new entry for every column. New entries bring the values with them, in columns of their
-- own; those of earlier entries are still taken from the body. `ledger verify` compares both with the body.
-- No index and no query uses this one any more.
ALTER TABLE entries DROP COLUMN provider_request_id;
-- NULL in entries of an earlier idgate.
ALTER TABLE entries ADD COLUMN own_kind TEXT;
ALTER TABLE entries ADD COLUMN own_id TEXT;
ALTER TABLE entries ADD COLUMN own_at_ms INTEGER;
ALTER TABLE entries ADD COLUMN own_client TEXT;
ALTER TABLE entries ADD COLUMN own_outcome TEXT;
ALTER TABLE entries ADD COLUMN own_provider TEXT;
ALTER TABLE entries ADD COLUMN own_subject TEXT;
ALTER TABLE entries ADD COLUMN own_flight TEXT;
ALTER TABLE entries ADD COLUMN own_reference TEXT;
ALTER TABLE entries ADD COLUMN own_billed TEXT;
ALTER TABLE entries ADD COLUMN own_price INTEGER;
ALTER TABLE entries ADD COLUMN own_reason TEXT;
ALTER TABLE entries ADD COLUMN own_key TEXT;
ALTER TABLE entries ADD COLUMN own_claim TEXT;
-- The values of earlier entries stay the same, and so do the indexes. Only the expressions change, and these SQLite has as
-- text; to drop the columns and add them again would make every index anew, which takes hours in a large file.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql =
    replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(sql,
    '(body ->> ''kind'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''kind'' ELSE own_kind END)'),
    '(body ->> ''id'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''id'' ELSE own_id END)'),
    '(body ->> ''at_ms'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''at_ms'' ELSE own_at_ms END)'),
    '(body ->> ''client'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''client'' ELSE own_client END)'),
    '(body ->> ''outcome'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''outcome'' ELSE own_outcome END)'),
    '(body ->> ''provider'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''provider'' ELSE own_provider END)'),
    '(body -> ''subject'' ->> ''digest'')', '(CASE WHEN own_kind IS NULL THEN body -> ''subject'' ->> ''digest'' ELSE own_subject END)'),
    '(substr(body -> ''subject'' ->> ''digest'', 1, 8))', '(CASE WHEN own_kind IS NULL THEN substr(body -> ''subject'' ->> ''digest'', 1, 8) ELSE substr(own_subject, 1, 8) END)'),
    '(body ->> ''flight'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''flight'' ELSE own_flight END)'),
    '(body ->> ''reference'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''reference'' ELSE own_reference END)'),
    '(body ->> ''billed'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''billed'' ELSE own_billed END)'),
    '(body ->> ''price_micro_yuan'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''price_micro_yuan'' ELSE own_price END)'),
    '(body ->> ''reason'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''reason'' ELSE own_reason END)'),
    '(body ->> ''key'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''key'' ELSE own_key END)'),
    '(body ->> ''claim'')', '(CASE WHEN own_kind IS NULL THEN body ->> ''claim'' ELSE own_claim END)')
    WHERE type = 'table' AND name = 'entries';
-- Reads the schema again.
PRAGMA writable_schema = RESET;
