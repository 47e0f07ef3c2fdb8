-- Stands in front of every script. The clock is that of Redis.
local K, A, n, pack, read = KEYS[1], ARGV, tonumber, struct.pack, struct.unpack
local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000)
local function set(f, v) redis.call('HSET', K, f, v) end
local function keep(ms) if redis.call('PTTL', K) < n(ms) then redis.call('PEXPIRE', K, ms) end end
-- Writes the totals of replica A[1], unless newer ones than A[2] are there.
local function own()
  local known = redis.call('HGET', K, A[1])
  if not known or read('>I8', known) < n(A[2]) then
    set(A[1], pack('>I8I4I4I8I8I8I8', A[2], A[3], A[4], A[5], A[6], A[7], A[8]))
    redis.call('PEXPIRE', K, 2764800000)
  end
end
-- What the replicas beside A[1] have used of day A[3] and of month A[4].
local function others()
  local all, sum = redis.call('HGETALL', K), {0, 0, 0, 0}
  for i = 1, #all, 2 do
    if all[i] ~= A[1] and all[i] ~= '.' then
      local _, day, month, a, b, c, d = read('>I8I4I4I8I8I8I8', all[i + 1])
      if day == n(A[3]) then sum[1] = sum[1] + a; sum[2] = sum[2] + b end
      if month == n(A[4]) then sum[3] = sum[3] + c; sum[4] = sum[4] + d end
    end
  end
  return sum
end
