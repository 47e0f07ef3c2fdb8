-- Stands in front of every script. The clock is that of Redis.
local K, A, n, pack, read = KEYS[1], ARGV, tonumber, struct.pack, struct.unpack
local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000)
local function set(f, v) redis.call('HSET', K, f, v) end
local function keep(ms) if redis.call('PTTL', K) < n(ms) then redis.call('PEXPIRE', K, ms) end end
