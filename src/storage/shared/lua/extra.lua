-- 1 most in a minute; 1 taken
local old = redis.call('LINDEX', K, -n(A[1]));
if n(A[1]) < 1 or (old and n(old) > now - 60000) then return 0 end
redis.call('RPUSH', K, string.format('%.0f', now))
redis.call('LTRIM', K, -n(A[1]), -1); redis.call('PEXPIRE', K, 60000); return 1
