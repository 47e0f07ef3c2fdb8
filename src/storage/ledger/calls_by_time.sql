-- What a provider bills for is compared by provider and time.
CREATE INDEX calls_by_time ON entries (provider, at_ms) WHERE kind = 'call';
