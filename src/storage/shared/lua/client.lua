-- 1 replica, 2 step_us, 3 admitted since the last time, 4 day, 5 own questions of the day.
-- {debt_us, questions elsewhere}
local tat, others = math.max(n(redis.call('HGET', K, 'tat') or 0), us) + A[2] * A[3], 0
set('tat', string.format('%.0f', tat)); set('d' .. A[1], A[4] .. ':' .. A[5]); redis.call('PEXPIRE', K, 172800000)
for i, x in ipairs(redis.call('HGETALL', K)) do
  local day, count = x:match('^(%d+):(%d+)$'); if day == A[4] then others = others + count end
end
return {tat - us, others - A[5]}
