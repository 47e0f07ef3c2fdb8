-- 1 provider, 2 first_ms, 3 longest_ms. Its length
local h, len = redis.call('HGET', K, 'h' .. A[1]), n(A[2])
if h then
  local til, old = read('>I8I8', h)
  if til > now then len = old elseif now < til + A[3] then len = math.min(old * 2, n(A[3])) end
end
set('h' .. A[1], pack('>I8I8', now + len, len)); keep(len + A[3])
return len
