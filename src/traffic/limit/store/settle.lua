-- Applies a batch of changes that follow decisions: reconciles tokens, and releases, cancels and renews leases.
--
-- KEYS    the number of this server's last batch; then the bucket of each change
-- ARGV    the time in microseconds, or '' for the clock of this server; length of a lease in microseconds; number of
--         the batch; then for each change: action, name of the lease or of the charged window, tokens reserved, tokens
--         spent, period in microseconds
--
-- A batch is sent again until its reply arrives, and an earlier copy may be late. It is applied once, and in order.

local number = tonumber(ARGV[3])
if number <= tonumber(redis.call('GET', KEYS[1]) or 0) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'EX', 3600)

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end
local LEASE = tonumber(ARGV[2])

local function slots(key, score, name)
  redis.call('ZADD', key, score, name)
  redis.call('PEXPIRE', key, LEASE / 1000)
end

-- Returns the function that changes the used amount of a bucket; one that has expired is full again.
local function windows(change)
  return function(key, name, reserved, spent, period)
    local text = redis.call('GET', key)
    if not text then return end
    local function save(format, ...)
      redis.call('SET', key, string.format(format, ...), 'KEEPTTL')
    end
    local function corrected(used)
      return math.max(0, tonumber(used) - reserved + spent)
    end
    change(text, tonumber(name), period, corrected, save)
  end
end

local ACTIONS = {
  -- The slot of a response that has ended.
  release = function(key, name) redis.call('ZREM', key, name) end,
  -- A slot of which it is unknown if it was given. Its request may still be on its way, so it is marked.
  cancel = function(key, name) slots(key, string.format('%.0f', -(now + LEASE)), name) end,
  -- The slot of a response that still runs. It is given again if the store has lost it.
  renew = function(key, name) slots(key, string.format('%.0f', now + LEASE), name) end,
  gcra = windows(function(text, _, _, corrected, save)
    local missing, at = string.match(text, '(%S+) (%S+)')
    save('%.17g %s', corrected(missing), at)
  end),
  fixed = windows(function(text, charged, _, corrected, save)
    local used, at, name = string.match(text, '(%S+) (%S+) ?(%S*)')
    name = tonumber(name) or tonumber(at)
    if name == charged then save('%.0f %s %.0f', corrected(used), at, name) end
  end),
  sliding = windows(function(text, charged, period, corrected, save)
    local used, before, at, name = string.match(text, '(%S+) (%S+) (%S+) ?(%S*)')
    name = tonumber(name) or tonumber(at)
    if name == charged then
      save('%.0f %s %s %.0f', corrected(used), before, at, name)
    elseif name == charged + period then
      save('%s %.0f %s %.0f', used, corrected(before), at, name)
    end
  end),
}

for n = 2, #KEYS do
  local first = 4 + (n - 2) * 5
  -- A key of another type fails alone.
  pcall(ACTIONS[ARGV[first]], KEYS[n], ARGV[first + 1], tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3]),
    tonumber(ARGV[first + 4]))
end
return 1
