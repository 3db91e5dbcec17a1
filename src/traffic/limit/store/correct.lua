-- Reconciles one bucket when a response ends.
--
-- KEYS    the bucket
-- ARGV    algorithm, name of the lease, time at which the charged window opened, tokens reserved, tokens spent,
--         period in microseconds

local algorithm, lease, opened = ARGV[1], ARGV[2], tonumber(ARGV[3])
local reserved, spent, period = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

if algorithm == 'slots' then
  return redis.call('ZREM', KEYS[1], lease)
end
local text = redis.call('GET', KEYS[1])
-- A bucket that has expired is full again.
if not text then return 0 end
local function save(format, ...)
  redis.call('SET', KEYS[1], string.format(format, ...), 'KEEPTTL')
end
local function corrected(used)
  return math.max(0, used - reserved + spent)
end

if algorithm == 'gcra' then
  local missing, at = string.match(text, '(%S+) (%S+)')
  save('%.17g %s', corrected(tonumber(missing)), at)
elseif algorithm == 'fixed' then
  local used, at = string.match(text, '(%S+) (%S+)')
  if tonumber(at) == opened then save('%.0f %s', corrected(tonumber(used)), at) end
else
  local used, before, at = string.match(text, '(%S+) (%S+) (%S+)')
  if tonumber(at) == opened then
    save('%.0f %s %s', corrected(tonumber(used)), before, at)
  elseif tonumber(at) == opened + period then
    save('%s %.0f %s', used, corrected(tonumber(before)), at)
  end
end
return 1
