-- A removal is a sealed entry. What this table says has become one: see `adopt`.
DROP TABLE removed;
CREATE INDEX removals ON entries (seq) WHERE kind = 'removed';
