-- Applies a batch of changes that follow decisions: reconciles tokens, and releases, cancels and renews leases.
--
-- KEYS    the number of this server's last batch; then the bucket of each change
-- ARGV    the time in microseconds, or '' for the clock of this server; length of a lease in microseconds; number of
--         the batch, or '' if it only ends leases; then for each change: action, name of the lease or of the charged
--         window, tokens reserved, tokens spent, period in microseconds
--
-- A batch is sent again until its reply arrives, and an earlier copy may be late. A numbered batch is applied once, and
-- in order. To end a lease twice, or late, is harmless.

local call, format, match = redis.call, string.format, string.match

if ARGV[3] ~= '' then
  if tonumber(ARGV[3]) <= tonumber(call('GET', KEYS[1]) or 0) then return 0 end
  call('SET', KEYS[1], ARGV[3], 'EX', 3600)
end

local LEASE = tonumber(ARGV[2])

-- The end of a lease that begins now.
local ends
local function lease_end()
  if not ends then
    local now = tonumber(ARGV[1])
    if not now then
      local time = call('TIME')
      now = time[1] * 1000000 + time[2]
    end
    ends = format('%.0f', now + LEASE)
  end
  return ends
end

-- The key whose expiry was set last; it need not be set for each of its slots.
local expiring
local function slot(key, score, name)
  call('ZADD', key, score, name)
  if key ~= expiring then
    call('PEXPIRE', key, LEASE / 1000)
    expiring = key
  end
end

-- Replaces the charge of a window in the state of a bucket. `nil` if the window is over.
local function corrected(algorithm, text, charged, change, period)
  if algorithm == 'gcra' then
    local missing, at = match(text, '(%S+) (%S+)')
    return format('%.17g %s', math.max(0, missing + change), at)
  end
  if algorithm == 'fixed' then
    local used, at, name = match(text, '(%S+) (%S+)(.*)')
    if (tonumber(name) or tonumber(at)) == charged then
      return format('%.0f %s%s', math.max(0, used + change), at, name)
    end
    return nil
  end
  local used, before, at, name = match(text, '(%S+) (%S+) (%S+)(.*)')
  local window = tonumber(name) or tonumber(at)
  if window == charged then
    return format('%.0f %s %s%s', math.max(0, used + change), before, at, name)
  elseif window == charged + period then
    return format('%s %.0f %s%s', used, math.max(0, before + change), at, name)
  end
end

local function apply(n)
  local key, first = KEYS[n], 5 * n - 6
  local action, name = ARGV[first], ARGV[first + 1]
  if action == 'release' then
    -- The slot of a response that has ended.
    call('ZREM', key, name)
    if key == expiring then expiring = nil end
  elseif action == 'cancel' then
    -- A slot of which it is unknown if it was given. Its request may still be on its way, so it is marked.
    slot(key, '-' .. lease_end(), name)
  elseif action == 'renew' then
    -- The slot of a response that still runs. It is given again if the store has lost it.
    slot(key, lease_end(), name)
  else
    local text = call('GET', key)
    -- A bucket that has expired is full again.
    if text then
      text = corrected(action, text, tonumber(name), ARGV[first + 3] - ARGV[first + 2], tonumber(ARGV[first + 4]))
    end
    if text then call('SET', key, text, 'KEEPTTL') end
  end
end

for n = 2, #KEYS do
  -- A key of another type fails alone.
  pcall(apply, n)
end
return 1
