-- One request against all its limits, in one step. The meaning is domain/limit_book.py's, and tests hold both together.
--
-- KEYS: the request's record, then one counter a rule.
-- ARGV: operation (admit, adopt, finish, touch), now in ms (0: this server's clock), request id, tokens, nano-USD,
--       then two a rule: kind and window (r t s c, m d M -) and limit,
--       then three a seed: which rule, what was spent, since when (ms).
-- Answers {1 yes | 0 no, binding rule or 0, wait in ms or -1, now, then two a rule: remaining, reset in ms},
--         or {2, then two a spend counter that is unknown: which rule, since when (ms)}.
--
-- A counter is a hash: u used, o open (the sum of its buckets), c the last bucket swept away, and the buckets, named by
-- the second or minute at which they fall away; w the start of its window, s whether spend is seeded (1) or doubtful
-- (0), l the last bucket. Requests at once are a sorted set of ids by deadline. A record is a hash: x its deadline, and
-- what it holds of each counter as amount@bucket@window; or done, when it ended. Every key has a time to live.

local MINUTE_SECONDS, HOLD_MINUTES = 61, 16
local FINISHED_MS, BUSY_RETRY_MS, SLACK_MS, MINUTE_MS, DAY_MS = 120000, 1000, 60000, 60000, 86400000
local UNKNOWN, NEVER = 2, -1
local floor = math.floor

local operation, id, record_key = ARGV[1], ARGV[3], KEYS[1]
local amounts = {r = 1, c = 1, t = tonumber(ARGV[4]), s = tonumber(ARGV[5])}
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
  local code = ARGV[4 + 2 * i]
  local counter = {key = KEYS[i + 1], kind = code:sub(1, 1), window = code:sub(2, 2), limit = tonumber(ARGV[5 + 2 * i])}
  counter.amount = amounts[counter.kind]
  if counter.kind == 'c' then
    redis.call('ZREMRANGEBYSCORE', counter.key, '-inf', now)
    counter.total = redis.call('ZCARD', counter.key)
    return counter
  end
  local sliding = counter.window == 'm'
  counter.sliding, counter.life = sliding, sliding and MINUTE_SECONDS or HOLD_MINUTES
  counter.tick = floor(now / (sliding and 1000 or MINUTE_MS))
  local field = redis.call('HMGET', counter.key, 'c', 'u', 'o', 'w', 's', 'l', counter.tick + counter.life)
  if not sliding and not enter_window(counter, tonumber(field[4] or nil)) then field = {} end
  local swept = tonumber(field[1] or counter.tick)
  if swept > counter.tick then
    counter.tick = swept
    field[7] = redis.call('HGET', counter.key, swept + counter.life)
  end
  counter.bucket, counter.here = counter.tick + counter.life, tonumber(field[7] or 0)
  counter.used, counter.open = tonumber(field[2] or 0), tonumber(field[3] or 0)
  counter.seeded, counter.last = field[5] or nil, tonumber(field[6] or 0)
  if swept < counter.tick then sweep(counter, swept) end
  counter.total = counter.used + counter.open
  return counter
end

local function save(counter)
  local fields = {'c', counter.tick, 'o', counter.open, counter.bucket, counter.here}
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if counter.sliding then
    set('l', counter.last)
  else
    set('u', counter.used)
    set('w', counter.start)
    if counter.seeded then set('s', counter.seeded) end
  end
  redis.call('HSET', counter.key, unpack(fields))
  local life = counter.sliding and MINUTE_SECONDS * 1000 or window_end(counter) - now
  redis.call('PEXPIRE', counter.key, life + SLACK_MS)
end

local function put(counter, bucket, amount)
  counter.open = counter.open + amount
  if bucket == counter.bucket then
    counter.here = counter.here + amount
  else
    redis.call('HINCRBY', counter.key, bucket, amount)
  end
end

-- The record of a running request, or nil; and whether it is known to have ended.
local function read_record()
  local flat, record = redis.call('HGETALL', record_key), {}
  if #flat == 0 then return nil, false end
  for i = 1, #flat, 2 do record[flat[i]] = flat[i + 1] end
  if record.done then return nil, now < tonumber(record.done) + FINISHED_MS end
  if tonumber(record.x) > now then return record, false end
  return nil, false
end

local function held_of(record, counter_key)
  local amount, bucket, window = record[counter_key]:match('(%d+)@(%d+)@(%d+)')
  return tonumber(amount), tonumber(bucket), tonumber(window)
end

local function take(counter)
  local amount, bucket = counter.amount, 0
  if counter.kind == 'c' then
    redis.call('ZADD', counter.key, deadline, id)
    redis.call('PEXPIRE', counter.key, deadline - now + SLACK_MS)
    counter.total = counter.total + 1
    return '1@0@0'
  end
  if counter.kind == 'r' and not counter.sliding then
    counter.used = counter.used + 1
  else
    bucket = counter.bucket
    put(counter, bucket, amount)
    if amount > 0 then counter.last = bucket end
  end
  counter.total = counter.total + amount
  save(counter)
  return string.format('%.0f@%.0f@%.0f', amount, bucket, counter.start or 0)
end

local function seed(counters)
  for i = 6 + 2 * rules, #ARGV, 3 do
    local counter, spent = counters[tonumber(ARGV[i])], tonumber(ARGV[i + 1])
    if counter.start == tonumber(ARGV[i + 2]) and counter.seeded ~= '1' then
      counter.used = counter.seeded and math.max(counter.used, spent) or counter.used + spent
      counter.seeded, counter.total = '1', counter.used + counter.open
      save(counter)
    end
  end
end

local function unknown_spend(counters)
  local answer = {UNKNOWN}
  for i, counter in ipairs(counters) do
    if counter.kind == 's' and counter.seeded ~= '1' then
      answer[#answer + 1] = i
      answer[#answer + 1] = counter.start
    end
  end
  return #answer > 1 and answer or nil
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

local function binding_of(counters, record)
  local binding, wait = 0, 0
  for i, counter in ipairs(counters) do
    if not record[counter.key] and counter.total + counter.amount > counter.limit and wait ~= NEVER then
      local own = wait_of(counter)
      if own == NEVER or own > wait then binding, wait = i, own end
    end
  end
  return binding, wait
end

local function reset_of(counter)
  if counter.kind == 'c' or counter.total <= 0 then return 0 end
  if counter.sliding then return counter.last * 1000 - now end
  return window_end(counter) - now
end

local function hold(counters, record)
  local fields = {'x', deadline}
  for _, counter in ipairs(counters) do
    if not record[counter.key] then
      fields[#fields + 1] = counter.key
      fields[#fields + 1] = take(counter)
    end
  end
  redis.call('HSET', record_key, unpack(fields))
  redis.call('PEXPIRE', record_key, deadline - now + SLACK_MS)
end

local function admit(forced)
  local record, ended = read_record()
  if forced and ended then return {1} end
  local counters = {}
  for i = 1, rules do counters[i] = load(i) end
  seed(counters)
  local unknown = not forced and unknown_spend(counters)
  if unknown then return unknown end
  local binding, wait = 0, 0
  if not forced then binding, wait = binding_of(counters, record or {}) end
  if binding == 0 then
    if not record then redis.call('DEL', record_key) end
    hold(counters, record or {})
  end
  local answer = {binding == 0 and 1 or 0, binding, wait, now}
  for _, counter in ipairs(counters) do
    answer[#answer + 1] = math.max(0, counter.limit - counter.total)
    answer[#answer + 1] = reset_of(counter)
  end
  return answer
end

local function correct(counter, record)
  local actual = counter.amount
  if not record then
    if counter.sliding then
      put(counter, counter.bucket, actual)
      counter.last = counter.bucket
    else
      counter.used = counter.used + actual
    end
    return save(counter)
  end
  local amount, bucket, window = held_of(record, counter.key)
  if counter.sliding then
    if bucket <= counter.tick then return end
    put(counter, bucket, actual - amount)
  else
    if window ~= counter.start then return end
    if bucket > counter.tick then put(counter, bucket, -amount) end
    counter.used = counter.used + actual
  end
  save(counter)
end

local function finish()
  local record, ended = read_record()
  if ended then return {1} end
  for i = 1, rules do
    local kind, key = ARGV[4 + 2 * i]:sub(1, 1), KEYS[i + 1]
    if kind == 'c' then
      redis.call('ZREM', key, id)
    elseif kind ~= 'r' and (record and record[key] or not record and amounts[kind] > 0) then
      correct(load(i), record)
    end
  end
  redis.call('DEL', record_key)
  redis.call('HSET', record_key, 'done', now)
  redis.call('PEXPIRE', record_key, FINISHED_MS)
  return {1}
end

local function put_off(counter, record)
  local amount, bucket, window = held_of(record, counter.key)
  if window ~= counter.start or bucket <= counter.tick then return end
  put(counter, bucket, -amount)
  put(counter, counter.bucket, amount)
  save(counter)
  redis.call('HSET', record_key, counter.key, string.format('%.0f@%.0f@%.0f', amount, counter.bucket, window))
end

local function touch()
  local record = read_record()
  if not record then return {0} end
  for i = 1, rules do
    local code, key = ARGV[4 + 2 * i], KEYS[i + 1]
    if record[key] and code:sub(1, 1) == 'c' then
      redis.call('ZADD', key, 'XX', deadline, id)
      redis.call('PEXPIRE', key, deadline - now + SLACK_MS)
    elseif record[key] and code:sub(1, 1) ~= 'r' and code:sub(2, 2) ~= 'm' then
      put_off(load(i), record)
    end
  end
  redis.call('HSET', record_key, 'x', deadline)
  redis.call('PEXPIRE', record_key, deadline - now + SLACK_MS)
  return {1}
end

if operation == 'admit' then return admit(false) end
if operation == 'adopt' then return admit(true) end
if operation == 'finish' then return finish() end
return touch()
