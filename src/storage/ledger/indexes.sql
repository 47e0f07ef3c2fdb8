-- Every insert maintains every index. No query uses this one any more.
DROP INDEX calls_by_their_reference;
-- Digests are random, so in one index over all entries each insert would dirty a page of its own, which is written to
-- disk twice. Within spans of 16,384 entries, inserts touch only the few pages of the last span; a search looks into
-- every span. The first 8 characters of a digest are selective enough.
DROP INDEX answers_by_subject;
ALTER TABLE entries ADD COLUMN span INTEGER GENERATED ALWAYS AS (seq >> 14) VIRTUAL;
ALTER TABLE entries ADD COLUMN subject_start TEXT GENERATED ALWAYS AS (substr(body -> 'subject' ->> 'digest', 1, 8)) VIRTUAL;
CREATE INDEX answers_by_subject ON entries (span, subject_start, seq) WHERE kind = 'answer';
