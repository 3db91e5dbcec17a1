-- Decides on one request for all limits that apply; charges all of them or none. A fixed window counts what it refuses.
--
-- KEYS    the bucket of each limit
-- ARGV    the time in microseconds, or '' for the clock of this server; length of a lease in microseconds; then for
--         each limit: algorithm, limit, burst, period in microseconds (0: no end), cost, name of the lease
-- reply   for each limit: admitted, too large, remaining, microseconds until full, microseconds to wait, name of the
--         window that was charged
--
-- The arithmetic is the same as in src/traffic/limit/window.rs. Unlike the clock there, the clock here can go back. A
-- bucket of a later time then becomes one of now, at once: a refused request charges nothing and would not store it.
--
-- A window is named by the time at which it opened, as the clock was then. The name stays when the clock goes back, so
-- that reserved tokens still find their window. It is stored only if it differs from the time.

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end

-- A slot that is neither released nor renewed is free after this time, in microseconds.
local LEASE = tonumber(ARGV[2])
-- Tolerance for rounding errors in sums of fractions.
local EPSILON = 1e-9
-- The same for times, in microseconds.
local EPSILON_MICROS = 1e-3

local function save(key, text, microseconds)
  if microseconds then
    redis.call('SET', key, text, 'PX', string.format('%.0f', math.ceil(microseconds / 1000) + 1))
  else
    redis.call('SET', key, text)
  end
end

local function fetch(key, pattern)
  local text = redis.call('GET', key)
  if not text then return nil end
  local a, b, c, d = string.match(text, pattern)
  return tonumber(a), tonumber(b), tonumber(c), tonumber(d)
end

local function clamp(cost, most)
  return math.max(1, math.min(cost, most))
end

local function gcra(key, limit, burst, period, cost)
  local missing, at = fetch(key, '(%S+) (%S+)')
  local function put()
    save(key, string.format('%.17g %.0f', missing, now), missing * period / limit)
  end
  if not missing then
    missing = 0
  elseif at > now then
    put()
  else
    missing = math.max(0, missing - (now - at) * limit / period)
  end
  local admitted = missing + cost <= burst + EPSILON
  local function status(missing, cost)
    local wait = math.max(0, missing + clamp(cost, burst) - burst - EPSILON) * period / limit
    return math.floor(math.max(0, burst - missing + EPSILON)), math.floor(missing * period / limit + EPSILON_MICROS), math.ceil(wait - EPSILON_MICROS), 0
  end
  local function charge()
    missing = missing + cost
    put()
  end
  return {admitted = admitted, large = cost > burst, charge = charge, status = function(cost)
    return status(missing, cost)
  end}
end

local function fixed(key, limit, burst, period, cost)
  local used, at, name = fetch(key, '(%S+) (%S+) ?(%S*)')
  local function put(taken)
    used = taken
    local text = string.format(name == at and '%.0f %.0f' or '%.0f %.0f %.0f', used, at, name)
    save(key, text, period > 0 and at + period - now or nil)
  end
  if not used or (period > 0 and now >= at + period) then
    used, at, name = 0, now, now
  else
    name = name or at
    if period > 0 and at > now then
      at = now
      put(used)
    end
  end
  local admitted = used + cost <= limit
  local large = cost > limit
  return {
    admitted = admitted,
    large = large,
    charge = function() put(used + cost) end,
    count_refused = function() if not large then put(limit) end end,
    status = function(cost)
      local full = (used == 0 or period == 0) and 0 or at + period - now
      return math.max(0, limit - used), full, used + math.max(cost, 1) <= limit and 0 or full, name
    end,
  }
end

local function sliding(key, limit, burst, period, cost)
  local used, before, at, name = fetch(key, '(%S+) (%S+) (%S+) ?(%S*)')
  name = name or at
  local function put()
    local text = string.format(name == at and '%.0f %.0f %.0f' or '%.0f %.0f %.0f %.0f', used, before, at, name)
    save(key, text, at + 2 * period - now)
  end
  if not used or now - at >= 2 * period then
    used, before, at, name = 0, 0, now, now
  elseif now - at >= period then
    used, before, at, name = 0, used, at + period, name + period
  elseif at > now then
    at = now
    put()
  end
  local elapsed = now - at
  local overlap = math.ceil(before * (period - elapsed) / period - EPSILON)
  local function shrunk(counted, room)
    if counted <= room then return 0 end
    return period - math.floor(room * period / counted)
  end
  return {
    admitted = used + overlap + cost <= limit,
    large = cost > limit,
    charge = function()
      used = used + cost
      put()
    end,
    status = function(cost)
      local next = clamp(cost, limit)
      local wait
      if used + next <= limit then
        wait = math.max(0, shrunk(before, limit - used - next) - elapsed)
      else
        wait = period - elapsed + shrunk(used, limit - next)
      end
      local full = used > 0 and 2 * period - elapsed or before > 0 and period - elapsed or 0
      return math.max(0, limit - used - overlap), full, wait, name
    end,
  }
end

-- The score of a lease is the time at which it ends. A cancelled lease has the negative of it, and cannot begin.
local function slots(key, limit, burst, period, cost, lease)
  local time = string.format('%.0f', now)
  redis.call('ZREMRANGEBYSCORE', key, '-' .. time, time)
  local used = redis.call('ZCOUNT', key, '(0', '+inf')
  local ends = string.format('%.0f', now + LEASE)
  if used + cost > limit then
    -- Leases of a later time: the clock went back.
    for _, later in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. ends, '+inf')) do
      redis.call('ZADD', key, 'XX', ends, later)
    end
  end
  return {
    admitted = used + cost <= limit,
    large = false,
    charge = function()
      redis.call('ZADD', key, 'NX', ends, lease)
      redis.call('PEXPIRE', key, LEASE / 1000)
      used = used + cost
    end,
    status = function()
      local wait = used < limit and 0 or 1000000
      return math.max(0, limit - used), wait, wait, 0
    end,
  }
end

local ALGORITHMS = {gcra = gcra, fixed = fixed, sliding = sliding, slots = slots}

local decisions, admitted = {}, true
for n, key in ipairs(KEYS) do
  local first = 3 + (n - 1) * 6
  local limit, burst, period, cost =
    tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4])
  local decision = ALGORITHMS[ARGV[first]](key, limit, burst, period, cost, ARGV[first + 5])
  decision.cost = cost
  decisions[n] = decision
  admitted = admitted and decision.admitted
end

local reply = {}
for n, decision in ipairs(decisions) do
  local cost = decision.cost
  if admitted then
    decision.charge()
  elseif decision.admitted then
    cost = 0
  elseif decision.count_refused then
    decision.count_refused()
  end
  reply[n] = {decision.admitted and 1 or 0, decision.large and 1 or 0, decision.status(cost)}
end
return reply
