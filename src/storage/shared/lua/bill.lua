-- 1 this bill, 2 its window_ms; the one before
local b = redis.call('HGET', K, 'b'); set('b', A[1]); keep(A[2]); return b
