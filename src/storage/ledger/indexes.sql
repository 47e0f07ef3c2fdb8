-- Each entry pays for these. One nobody reads any more; and of a digest the beginning is enough to find it, so that four times
-- as many share a page: digests come in no order, and each page that they touch is written to the disk.
DROP INDEX calls_by_their_reference;
DROP INDEX answers_by_subject;
ALTER TABLE entries ADD COLUMN subject_start TEXT GENERATED ALWAYS AS (substr(body -> 'subject' ->> 'digest', 1, 8)) VIRTUAL;
CREATE INDEX answers_by_subject ON entries (subject_start, seq) WHERE kind = 'answer';
