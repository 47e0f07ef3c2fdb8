-- 1 provider, 2 calls, 3 window_ms. 0 booked, or ms to wait
local q, kept, out = redis.call('HMGET', K, 'h' .. A[1], 'c' .. A[1]), {}, {}
if q[1] and read('>I8', q[1]) > now then return read('>I8', q[1]) - now end
for i = 1, #(q[2] or ''), 8 do local at = read('>I8', q[2], i); if at > now - A[3] then kept[#kept + 1] = at end end
if #kept >= n(A[2]) then return kept[1] + A[3] - now end
kept[#kept + 1] = now
for i, at in ipairs(kept) do out[i] = pack('>I8', at) end
set('c' .. A[1], table.concat(out)); keep(A[3])
return 0
