-- The fields of a hash, whoever writes to it: 1 the most fields, 2 the longest value, then the fields that must stay.
-- A surplus is removed in steps that do not hold Redis up; until it is gone, only the fields that must stay are returned.
local most, longest, stay, out = n(A[1]), n(A[2]), {}, {}
for i = 3, #A do stay[A[i]] = true end
local surplus = redis.call('HLEN', K) - most
if surplus > 0 then
  for _, f in ipairs(redis.call('HRANDFIELD', K, math.min(surplus + #A, 1024))) do
    if surplus > 0 and not stay[f] then redis.call('HDEL', K, f); surplus = surplus - 1 end
  end
end
local names = stay
if surplus <= 0 then names = {}; for _, f in ipairs(redis.call('HKEYS', K)) do names[f] = true end end
for f in pairs(names) do
  local length = redis.call('HSTRLEN', K, f)
  if length > longest or #f > 128 then redis.call('HDEL', K, f)
  elseif length > 0 then out[#out + 1] = f; out[#out + 1] = redis.call('HGET', K, f) end
end
return out
