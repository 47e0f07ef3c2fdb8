-- 1 client, 2 name, 3 most, 4 window_ms. 0 fine, or ms to wait
redis.call('ZREMRANGEBYSCORE', K, '-inf', now - A[4])
if redis.call('ZSCORE', K, A[1] .. A[2]) then return 0 end
local all, mine, first = redis.call('ZRANGE', K, 0, -1, 'WITHSCORES'), 0, nil
for i = 1, #all, 2 do if all[i]:sub(1, 8) == A[1] then mine = mine + 1; first = first or n(all[i + 1]) end end
if mine >= n(A[3]) then return first + A[4] - now end
redis.call('ZADD', K, now, A[1] .. A[2]); redis.call('PEXPIRE', K, A[4])
return 0
