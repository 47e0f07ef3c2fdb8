-- 1 provider
local c = redis.call('HGET', K, 'c' .. A[1]) or ''
if #c > 8 then set('c' .. A[1], c:sub(1, -9)) else redis.call('HDEL', K, 'c' .. A[1]) end
