-- What operators did: finds the last isolation of a provider.
CREATE INDEX operations_by_provider ON entries (provider, seq) WHERE kind = 'operation';
