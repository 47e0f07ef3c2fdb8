-- Each entry pays for these. One nobody reads any more.
DROP INDEX calls_by_their_reference;
-- Digests come in no order, so that in one index over all of them each entry would touch a page of its own, which is written to
-- the disk twice. In spans of 16,384 entries they touch the few pages of the last one; a search looks into each span. The
-- beginning of a digest is enough to find it.
DROP INDEX answers_by_subject;
ALTER TABLE entries ADD COLUMN span INTEGER GENERATED ALWAYS AS (seq >> 14) VIRTUAL;
ALTER TABLE entries ADD COLUMN subject_start TEXT GENERATED ALWAYS AS (substr(body -> 'subject' ->> 'digest', 1, 8)) VIRTUAL;
CREATE INDEX answers_by_subject ON entries (span, subject_start, seq) WHERE kind = 'answer';
