-- What calls have cost, by day in China (days since 1970), so that a start does not read the calls. `used_up` is 1 from
-- the first call of the day on that the provider refused because its quota was used up.
CREATE TABLE spent_by_day (
    day        INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    used_up    INTEGER NOT NULL,
    calls      INTEGER NOT NULL,
    micro_yuan INTEGER NOT NULL,
    billed     INTEGER NOT NULL,
    PRIMARY KEY (day, provider, client, used_up)
) STRICT, WITHOUT ROWID;
-- The last entry that these sums include. In an older file they are caught up step by step while it is in use.
CREATE TABLE summed (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    seq      INTEGER NOT NULL
) STRICT;
INSERT INTO summed VALUES (1, 0);
