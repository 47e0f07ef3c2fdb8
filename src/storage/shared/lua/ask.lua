-- 1 scope, 2 token ('' only looks), 3 lease_ms, 4-6 oldest verified_at that will do (match, mismatch, no_record),
-- 7 a token known to be dead, 8 the token waited for, 9 '1' if an ending that may yet be billed is an answer
local q = redis.call('HMGET', K, 'v' .. A[1], 'f' .. A[1], 'u' .. A[1]); local v, f, u = q[1], q[2], q[3]
local kind, of = f and f:sub(1, 1), f and f:sub(10, 33)
if kind == 'E' and of == A[8] then return {'E', f} end
if v then local at, verdict = read('>I8B', v); if at >= n(A[3 + verdict]) then return {'V', v} end end
if kind == 'L' and of ~= A[7] and read('>I8', f, 2) > now then
  if f:sub(34) == '0' then set('f' .. A[1], f:sub(1, 33) .. '1') end
  return {'W', f}
end
if u and A[9] == '1' and read('>I8', u) > now then return {'U', u:sub(9), read('>I8', u) - now} end
if A[2] == '' then return {'N'} end
set('f' .. A[1], 'L' .. pack('>I8', now + A[3]) .. A[2] .. '0'); keep(A[3])
return {'M', now}
