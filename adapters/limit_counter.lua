#!lua
-- Counters in Valkey; limiter.lua goes on from here. They mean what domain/limit_counter.py says.
--
-- A counter is a hash: u used, o open (the sum of its buckets), c the last bucket swept away, and the buckets, named by
-- the second or minute at which they fall away; of a minute l, the last bucket, and else w, the start of its window, and
-- s, whether spend is seeded (1) or doubtful (0). Requests at once are a sorted set of their records by deadline. A
-- record is one packed value: x its deadline and held, by counter {amount, bucket, window}; or done, when it ended.
-- Every key has a time to live.

local MINUTE_SECONDS, HOLD_MINUTES = 61, 16
local FINISHED_MS, BUSY_RETRY_MS, SLACK_MS, MINUTE_MS, DAY_MS = 120000, 1000, 60000, 60000, 86400000
local UNKNOWN, NEVER = 2, -1
local floor = math.floor

local operation, record_key = ARGV[1], KEYS[1]
local amounts = {r = 1, c = 1, t = tonumber(ARGV[3]), s = tonumber(ARGV[4])}
local rules = #KEYS - 1
local now = tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end
local deadline = (floor(now / MINUTE_MS) + HOLD_MINUTES) * MINUTE_MS

local function day_of_month(day)
  local shifted = day + 719468
  local of_era = shifted % 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  return of_year - floor((153 * floor((5 * of_year + 2) / 153) + 2) / 5) + 1
end

local function window_start(window, at)
  local day = floor(at / DAY_MS)
  if window == 'M' then day = day - day_of_month(day) + 1 end
  return day * DAY_MS
end

local function window_end(counter)
  if counter.window == 'd' then return counter.start + DAY_MS end
  return window_start('M', counter.start + 31 * DAY_MS)
end

local function sweep(counter, swept)
  local names, dropped, gone = {}, {}, 0
  for bucket = swept + 1, math.min(counter.tick, swept + counter.life) do names[#names + 1] = bucket end
  local values = redis.call('HMGET', counter.key, unpack(names))
  for i = 1, #names do
    if values[i] then
      dropped[#dropped + 1] = names[i]
      gone = gone + tonumber(values[i])
    end
  end
  if #dropped == 0 then return end
  redis.call('HDEL', counter.key, unpack(dropped))
  counter.open = counter.open - gone
  redis.call('HSET', counter.key, 'c', counter.tick, 'o', counter.open)
  if counter.kind == 's' and gone > 0 and counter.seeded == '1' then
    counter.seeded = '0'
    redis.call('HSET', counter.key, 's', '0')
  end
end

local function enter_window(counter, known)
  counter.start = window_start(counter.window, now)
  if known and known > counter.start then counter.start = known end
  if known and known < counter.start then
    redis.call('DEL', counter.key)
    return false
  end
  return true
end

local function load(i)
  local code = ARGV[3 + 2 * i]
  local counter = {key = KEYS[i + 1], kind = code:sub(1, 1), window = code:sub(2, 2), limit = tonumber(ARGV[4 + 2 * i])}
  counter.amount = amounts[counter.kind]
  if counter.kind == 'c' then
    redis.call('ZREMRANGEBYSCORE', counter.key, '-inf', now)
    counter.total = redis.call('ZCARD', counter.key)
    return counter
  end
  local sliding = counter.window == 'm'
  counter.sliding, counter.life = sliding, sliding and MINUTE_SECONDS or HOLD_MINUTES
  counter.tick = floor(now / (sliding and 1000 or MINUTE_MS))
  local bucket = counter.tick + counter.life
  local field = sliding and redis.call('HMGET', counter.key, 'c', 'o', bucket, 'l')
    or redis.call('HMGET', counter.key, 'c', 'o', bucket, 'w', 'u', 's')
  if not sliding then
    if not enter_window(counter, tonumber(field[4] or nil)) then field = {} end
    counter.used, counter.seeded = tonumber(field[5] or 0), field[6] or nil
  end
  counter.is_new = not field[1]
  local swept = tonumber(field[1] or counter.tick)
  if swept > counter.tick then
    counter.tick = swept
    field[3] = redis.call('HGET', counter.key, swept + counter.life)
  end
  counter.bucket, counter.here = counter.tick + counter.life, tonumber(field[3] or 0)
  counter.open = tonumber(field[2] or 0)
  counter.is_first_there = counter.here == 0
  if sliding then counter.used, counter.last = 0, tonumber(field[4] or 0) end
  if swept < counter.tick then sweep(counter, swept) end
  counter.total = counter.used + counter.open
  return counter
end

-- Its end is put off with the first amount of a second; that of a window is known when it begins.
local function save(counter)
  local key, tick, open, bucket, here = counter.key, counter.tick, counter.open, counter.bucket, counter.here
  if counter.sliding then
    redis.call('HSET', key, 'c', tick, 'o', open, 'l', counter.last, bucket, here)
    if counter.is_first_there then redis.call('PEXPIRE', key, MINUTE_SECONDS * 1000 + SLACK_MS) end
    return
  end
  if counter.seeded then
    redis.call('HSET', key, 'c', tick, 'o', open, 'u', counter.used, 'w', counter.start, 's', counter.seeded, bucket, here)
  else
    redis.call('HSET', key, 'c', tick, 'o', open, 'u', counter.used, 'w', counter.start, bucket, here)
  end
  if counter.is_new then redis.call('PEXPIRE', key, window_end(counter) - now + SLACK_MS) end
end

local function put(counter, bucket, amount)
  counter.open = counter.open + amount
  if bucket == counter.bucket then
    counter.here = counter.here + amount
  else
    redis.call('HINCRBY', counter.key, bucket, amount)
  end
end

local function sliding_wait(counter)
  local names, left = {}, counter.total
  for bucket = counter.tick + 1, counter.tick + counter.life do names[#names + 1] = bucket end
  local values = redis.call('HMGET', counter.key, unpack(names))
  for i, bucket in ipairs(names) do
    left = left - tonumber(values[i] or 0)
    if left + counter.amount <= counter.limit then return bucket * 1000 - now end
  end
  return NEVER
end

local function wait_of(counter)
  if counter.amount > counter.limit then return NEVER end
  if counter.kind == 'c' then return BUSY_RETRY_MS end
  if counter.sliding then return sliding_wait(counter) end
  if counter.used + counter.amount <= counter.limit then return BUSY_RETRY_MS end
  return window_end(counter) - now
end

local function reset_of(counter)
  if counter.kind == 'c' or counter.total <= 0 then return 0 end
  if counter.sliding then return counter.last * 1000 - now end
  return window_end(counter) - now
end
