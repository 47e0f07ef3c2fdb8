-- 1 this bill, 2 for how long it counts; the one before. Nothing is kept about a person who is just being forgotten.
if redis.call('HEXISTS', K, 'x') == 1 then return false end
local b = redis.call('HGET', K, 'b'); set('b', A[1]); keep(A[2]); return b
