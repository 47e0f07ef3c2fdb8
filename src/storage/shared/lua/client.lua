-- 1 incarnation of the replica, 2 step_us, 3 admitted since the last time, 4 day or 0, 5 own questions of the day.
-- {debt_us, questions elsewhere}. By incarnation, so that what was asked before a restart still counts.
local tat, others = math.max(n(redis.call('HGET', K, 'tat') or 0), us) + A[2] * A[3], 0
set('tat', string.format('%.0f', tat))
if n(A[5]) > 0 then set('d' .. A[1], A[4] .. ':' .. A[5]) end
redis.call('PEXPIRE', K, 172800000)
local all = redis.call('HGETALL', K)
for i = 1, #all, 2 do
  local day, count = all[i + 1]:match('^(%d+):(%d+)$')
  if day == A[4] then
    if all[i] ~= 'd' .. A[1] then others = others + count end
  elseif day and n(day) + 1 < n(A[4]) then
    redis.call('HDEL', K, all[i])
  end
end
return {tat - us, others}
