-- Up to when everything that a replica has written is in the record, by the clock of the database; the end of time if it
-- was stopped in order.
ALTER TABLE ~replicas ADD COLUMN level_ms bigint;
