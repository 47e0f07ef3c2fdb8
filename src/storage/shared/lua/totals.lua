-- Own totals, written behind. 1 replica, 2 version, 3 day, 4 month, 5-8 totals, 9 live replicas; the sums of the others.
-- The key is complete once every live replica is in it: a failover or a flush may have lost some.
own()
if redis.call('HEXISTS', K, '.') == 0 then
  if redis.call('HLEN', K) < n(A[9]) then return {-1} end
  set('.', '1')
end
local sum = others()
return {0, sum[1], sum[2], sum[3], sum[4]}
