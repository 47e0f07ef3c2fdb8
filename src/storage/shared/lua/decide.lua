-- 1 provider, 2 at_ms, 3 decision, 4 channel. The newest of both
local old = redis.call('HGET', K, A[1]); if old and n(old:match('^%d+')) >= n(A[2]) then return old end
set(A[1], A[2] .. ':' .. A[3]); redis.call('PUBLISH', A[4], 'I' .. A[1]); return A[2] .. ':' .. A[3]

