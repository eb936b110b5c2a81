-- One request against all its limits, in one step. The meaning is domain/limit_book.py's, and tests hold both together.
--
-- KEYS: the request's record, then one counter a rule.
-- ARGV: operation (admit, adopt, finish, touch), now in ms (0: this server's clock), tokens, nano-USD,
--       then two a rule: kind and window (r t s c, m d M -) and limit,
--       then three a seed: which rule, what was spent, since when (ms).
-- Answers {1 yes | 0 no, binding rule or 0, wait in ms or -1, now, then two a rule: remaining, reset in s},
--         or {2, then two a spend counter that is unknown: which rule, since when (ms)}.

-- The record of a running request, or nil; and whether it is known to have ended.
local function read_record()
  local packed = redis.call('GET', record_key)
  if not packed then return nil, false end
  local record = cmsgpack.unpack(packed)
  if record.done then return nil, now < record.done + FINISHED_MS end
  if record.x > now then return record, false end
  return nil, false
end

local function write_record(record)
  redis.call('SET', record_key, cmsgpack.pack(record), 'PX', record.x - now + SLACK_MS)
end

local function take(counter)
  local amount, bucket = counter.amount, 0
  if counter.kind == 'c' then
    counter.total = counter.total + redis.call('ZADD', counter.key, deadline, record_key)
    redis.call('PEXPIRE', counter.key, deadline - now + SLACK_MS)
    return {1, 0, 0}
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
  return {amount, bucket, counter.start or 0}
end

local function seed(counters)
  for i = 5 + 2 * rules, #ARGV, 3 do
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

local function binding_of(counters, held)
  local binding, wait = 0, 0
  for i, counter in ipairs(counters) do
    if not held[counter.key] and counter.total + counter.amount > counter.limit and wait ~= NEVER then
      local own = wait_of(counter)
      if own == NEVER or own > wait then binding, wait = i, own end
    end
  end
  return binding, wait
end

local function hold(counters, record)
  record = record or {x = deadline, held = {}}
  for _, counter in ipairs(counters) do
    if not record.held[counter.key] then record.held[counter.key] = take(counter) end
  end
  write_record(record)
end

local function admit(forced)
  local record, ended = read_record()
  local counters = {}
  for i = 1, rules do counters[i] = load(i) end
  seed(counters)
  local unknown = not forced and unknown_spend(counters)
  if unknown then return unknown end
  local binding, wait, fits = 0, NEVER, not ended
  if fits and not forced then
    binding, wait = binding_of(counters, record and record.held or {})
    fits = binding == 0
  end
  if fits then hold(counters, record) end
  local answer = {fits and 1 or 0, binding, wait, now}
  for _, counter in ipairs(counters) do
    answer[#answer + 1] = math.max(0, counter.limit - counter.total)
    answer[#answer + 1] = math.ceil(reset_of(counter) / 1000)
  end
  return answer
end

local function correct(counter, held)
  local actual = counter.amount
  if not held then
    if counter.sliding then
      put(counter, counter.bucket, actual)
      counter.last = counter.bucket
    else
      counter.used = counter.used + actual
    end
    return save(counter)
  end
  local amount, bucket, window = unpack(held)
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
    local kind, key = ARGV[3 + 2 * i]:sub(1, 1), KEYS[i + 1]
    if kind == 'c' then
      redis.call('ZREM', key, record_key)
    elseif kind ~= 'r' then
      local held = record and record.held[key]
      if held or not record and amounts[kind] > 0 then correct(load(i), held) end
    end
  end
  redis.call('SET', record_key, cmsgpack.pack({done = now}), 'PX', FINISHED_MS)
  return {1}
end

local function put_off(counter, held)
  local amount, bucket, window = unpack(held)
  if window ~= counter.start or bucket <= counter.tick then return end
  put(counter, bucket, -amount)
  put(counter, counter.bucket, amount)
  save(counter)
  held[2] = counter.bucket
end

local function touch()
  local record = read_record()
  if not record then return {0} end
  for i = 1, rules do
    local code, key = ARGV[3 + 2 * i], KEYS[i + 1]
    local held = record.held[key]
    if held and code:sub(1, 1) == 'c' then
      load(i)
      redis.call('ZADD', key, 'XX', deadline, record_key)
      redis.call('PEXPIRE', key, deadline - now + SLACK_MS)
    elseif held and code:sub(1, 1) ~= 'r' and code:sub(2, 2) ~= 'm' then
      put_off(load(i), held)
    end
  end
  record.x = deadline
  write_record(record)
  return {1}
end

if operation == 'admit' then return admit(false) end
if operation == 'adopt' then return admit(true) end
if operation == 'finish' then return finish() end
return touch()
