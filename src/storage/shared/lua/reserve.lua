-- 1 replica, 2 version, 3 day, 4 month, 5-8 own totals with this call (day calls, day amount, month calls, month
-- amount), 9-12 limits or ''. {0 or the limit, others…}; -1: incomplete
if redis.call('HEXISTS', K, '.') == 0 then return {-1} end
local sum, full = others(), 0
for i = 1, 4 do if A[8 + i] ~= '' and sum[i] + A[4 + i] > n(A[8 + i]) then full = i end end
if full == 0 then own() end
return {full, sum[1], sum[2], sum[3], sum[4]}
