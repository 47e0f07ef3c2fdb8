-- 1 scope, 2 token, 3 when the lease began, 4 verdict or '', 5 its life (0: ends the one before),
-- 6 for waiting flights: 0 and a verdict, or kind 1, retry_ms 4, client 8, billed 1; 7 channel,
-- 8 for how long nobody asks again (0: anybody may), 9 the kind of failure that a retry gets.
-- {1 mine, 0 lost, 2 forgotten; the verdict that stays in place of this one or ''}.
-- The token tells the replica that landed its own message.
local q = redis.call('HMGET', K, 'v' .. A[1], 'f' .. A[1], 'x'); local v, f, tell = q[1], q[2], false
local mine = f and f:sub(1, 1) == 'L' and f:sub(10, 33) == A[2]; local waited = mine and f:sub(34) == '1'
if q[3] and n(q[3]) >= n(A[3]) then return {2, ''} end
local stays = ''
if A[4] ~= '' and (not v or (mine and read('>I8', v) <= read('>I8', A[4]))) then
  if n(A[5]) == 0 then redis.call('HDEL', K, 'v' .. A[1]) else set('v' .. A[1], A[4]); keep(A[5]) end
  redis.call('HDEL', K, 'u' .. A[1])
  tell = v
elseif A[4] ~= '' then
  stays = v
elseif n(A[8] or 0) > 0 then
  set('u' .. A[1], pack('>I8', now + A[8]) .. A[2] .. A[9]); keep(A[8])
end
if waited then
  set('f' .. A[1], 'E' .. pack('>I8', now) .. A[2] .. A[6])
elseif mine then
  redis.call('HDEL', K, 'f' .. A[1])
end
if tell or waited then redis.call('PUBLISH', A[7], 'Q' .. K:sub(-32) .. A[1] .. A[2]) end
return {mine and 1 or 0, stays}
