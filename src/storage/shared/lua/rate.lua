-- GCRA. 1 step_us, 2 burst, 3 pause_ms to begin or 0. 0 go, or us to wait
local q = redis.call('HMGET', K, 'tat', 'pause')
local pause, tat, step = n(q[2] or 0), math.max(n(q[1] or 0), us), n(A[1])
if n(A[3]) > 0 then
  pause = math.max(pause, us + A[3] * 1000)
  set('pause', string.format('%.0f', pause)); keep(3700000)
end
if pause > us then return pause - us end
if tat - us > step * (A[2] - 1) then return tat - us - step * (A[2] - 1) end
set('tat', string.format('%.0f', tat + step)); keep(3700000)
return 0
