-- 1 tombstone_ms (longest flight + 5 s), 2 channel, 3 message. {verdicts, holds, replicas told}
local v, h = 0, 0
for _, f in ipairs(redis.call('HKEYS', K)) do
  local k = f:sub(1, 1)
  if k == 'v' then v = v + 1 elseif k == 'h' or k == 'c' then h = h + 1 end
end
redis.call('DEL', K); set('x', string.format('%.0f', now)); redis.call('PEXPIRE', K, A[1])
return {v, h, redis.call('PUBLISH', A[2], A[3])}
