#!lua
-- Counters in Valkey; limiter.lua goes on from here. They mean what domain/limit_counter.py says.
--
-- A counter is one string of numbers: its head, and a ring of buckets. The head is the second or minute up to which
-- it is swept, the end of its window, open (the sum of its buckets), here (the newest bucket, which the ring has
-- not), used, the last bucket with anything in it, what is believed of spend, and the start of its window. A bucket
-- is named by the second or minute at which it falls away. Requests at once are a sorted set of their records by
-- deadline. Every key has a time to live; a counter's is given anew in each second or minute in which it is called.
--
-- All of this runs anew for each call, and allocating is most of what it costs: tables, functions, and every local of
-- outside that a function names. So the common way makes few of them, and what is rarely called names none: it is given
-- what it needs, and has 8 numbers (64 bytes) for the head and 0, 1, 2 for unknown, doubtful, known.

local HEAD, HEAD_BYTES = '<dddddddd', 64
local SLACK_MS, UNKNOWN, DOUBTFUL, KNOWN = 60000, 0, 1, 2
local call, pack, unpacked = redis.call, struct.pack, struct.unpack

local operation, record_key, rules = ARGV[1], KEYS[1], #KEYS - 1
local now, tokens, nanos = unpacked('<ddd', ARGV[2])
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local second, minute = math.floor(now / 1000), math.floor(now / 60000)
local deadline = (minute + 16) * 60000
local values = call('MGET', unpack(KEYS))

local function rule(i)
  return unpacked('<c1c1d', ARGV[3], 10 * i - 9)
end

local function amount_of(kind)
  return kind == 't' and tokens or kind == 's' and nanos or 1
end

local function life_of(window)
  return window == 'm' and 61 or 16
end

-- Where in a counter a bucket of the ring is, counted from 1.
local function place_of(window, bucket)
  return 65 + 8 * (bucket % (window == 'm' and 61 or 16))
end

-- Start and end of the window that this is in; a sliding minute's never ends.
local function window_around(window, at)
  local function month_start(day)
    local floor, shifted = math.floor, day + 719468
    local of_era = shifted % 146097
    local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
    return day - of_year + floor((153 * floor((5 * of_year + 2) / 153) + 2) / 5)
  end
  local day_ms = 86400000
  local day = math.floor(at / day_ms)
  if window == 'm' then return 0, math.huge end
  if window == 'd' then return day * day_ms, (day + 1) * day_ms end
  local start = month_start(day)
  return start * day_ms, month_start(start + 31) * day_ms
end

-- The ring, with what was the newest bucket in it and without what has fallen away since; and how much that was.
local function turned(ring, life, tick, here, newest)
  local dropped = 0
  local function put(bucket, amount)
    local place = 8 * (bucket % life)
    ring = ring:sub(1, place) .. struct.pack('<d', amount) .. ring:sub(place + 9)
  end
  put(tick + life, here)
  for bucket = tick + 1, math.min(newest, tick + life) do
    local gone = struct.unpack('<d', ring, 1 + 8 * (bucket % life))
    if gone > 0 then put(bucket, 0) end
    dropped = dropped + gone
  end
  return ring, dropped
end

-- A counter in the window of now, without what has fallen away. Time does not go back.
local function renewed(key, value, window, now, window_around, turned)
  local life, newest = window == 'm' and 61 or 16, math.floor(now / (window == 'm' and 1000 or 60000))
  local tick, ends, open, here, used, last, belief, start, ring = newest, 0, 0, 0, 0, 0, 0, 0, nil
  if value then
    tick, ends, open, here, used, last, belief, start = struct.unpack('<dddddddd', value)
    ring = value:sub(65)
  end
  if now >= ends then
    ring, open, used, belief = ('\0'):rep(8 * life), 0, 0, 0
    start, ends = window_around(window, now)
  elseif open > 0 then
    local dropped
    ring, dropped = turned(ring, life, tick, here, newest)
    open = open - dropped
    if dropped > 0 and belief == 2 then belief = 1 end
  end
  value = struct.pack('<dddddddd', math.max(tick, newest), ends, open, 0, used, last, belief, start) .. ring
  redis.call('SET', key, value, 'PX', (window == 'm' and 61000 or ends - now) + 60000)
  return value
end

-- The head of a counter as it is now. A window begins with a minute.
local function head_of(i, window)
  if values[i + 1] then
    local tick, ends, open, here, used, last, belief, start = unpacked(HEAD, values[i + 1])
    if tick >= (window == 'm' and second or minute) then return tick, ends, open, here, used, last, belief, start end
  end
  values[i + 1] = renewed(KEYS[i + 1], values[i + 1], window, now, window_around, turned)
  return unpacked(HEAD, values[i + 1])
end

local function save(i, ...)
  call('SETRANGE', KEYS[i + 1], 0, pack(HEAD, ...))
end

-- Answers by how much it changed: where memory was lost, a bucket has less than a request thinks it holds. At most once
-- a bucket.
local function put_in_ring(key, value, place, amount)
  local there = struct.unpack('<d', value, place)
  local changed = math.max(amount, -there)
  redis.call('SETRANGE', key, place - 1, struct.pack('<d', there + changed))
  return changed
end
