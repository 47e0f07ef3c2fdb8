-- 1 replica, 2 version, 3 day, 4 month, 5-8 own totals with this call (day calls, day amount, month calls, month
-- amount), 9-12 limits or ''. {0 or the limit, others…}; -1: incomplete
local own, all, sum, full = redis.call('HGET', K, A[1]), redis.call('HGETALL', K), {0, 0, 0, 0}, 0
if redis.call('HEXISTS', K, '.') == 0 then return {-1} end
for i = 1, #all, 2 do
  if all[i] ~= A[1] and all[i] ~= '.' then
    local _, day, month, a, b, c, d = read('>I8I4I4I8I8I8I8', all[i + 1])
    if day == n(A[3]) then sum[1] = sum[1] + a; sum[2] = sum[2] + b end
    if month == n(A[4]) then sum[3] = sum[3] + c; sum[4] = sum[4] + d end
  end
end
for i = 1, 4 do if A[8 + i] ~= '' and sum[i] + A[4 + i] > n(A[8 + i]) then full = i end end
if full == 0 and (not own or read('>I8', own) < n(A[2])) then
  set(A[1], pack('>I8I4I4I8I8I8I8', A[2], A[3], A[4], A[5], A[6], A[7], A[8])); redis.call('PEXPIRE', K, 2764800000)
end
return {full, sum[1], sum[2], sum[3], sum[4]}
