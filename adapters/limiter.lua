-- One request against all its limits, in one step. The meaning is domain/limit_book.py's, and tests hold both together.
--
-- KEYS: the request's record, then one counter a rule.
-- ARGV: operation (admit, adopt, finish, touch),
--       packed: now in ms (0: this server's clock), tokens, nano-USD,
--       packed, three a rule: kind (r t s c), window (m d M -), limit,
--       then three a seed: which rule, what was spent, since when (ms).
-- Admit and adopt answer, packed: 1 yes or 0 no, binding rule or 0, wait in ms or -1, now, then two a rule: remaining,
-- reset in s; or 2, then two a spend counter that is unknown: which rule, since when (ms).
--
-- A record is e and when its request ended; or r, its deadline, and what it holds of each counter: amount, bucket,
-- start of the window, and the key.

local RECORD, RECORD_BYTES, HELD, FINISHED_MS = '<c1d', 9, '<ddd', 120000

-- The record of a running request, if there is one, and its deadline; whether it is known to have ended.
local record, until_ms, ended = values[1], 0, false
if record then
  local state, at = unpacked(RECORD, record)
  ended = state == 'e' and now < at + FINISHED_MS
  if state == 'r' and at > now then until_ms = at else record = false end
end

-- Where in the record is what it holds of a counter. They are mostly asked for in the order in which they are there.
local next_held = RECORD_BYTES + 1
local function place_held(key)
  local at, size = next_held, #record
  if size < at then return nil end
  repeat
    local own, after = unpacked('<I4c0', record, at + 24)
    if after > size then after = RECORD_BYTES + 1 end
    if own == key then
      next_held = after
      return at
    end
    at = after
  until at == next_held
end

if operation == 'finish' then
  if ended then return 1 end
  for i = 1, rules do
    local kind, window = rule(i)
    local held = record and place_held(KEYS[i + 1])
    local actual = amount_of(kind)
    if kind == 'c' then
      call('ZREM', KEYS[i + 1], record_key)
    elseif kind ~= 'r' and (held or not record and actual > 0) then
      local tick, ends, open, here, used, last, belief, start = head_of(i, window)
      local newest = tick + life_of(window)
      local amount, bucket, held_start = 0, newest, start
      if held then amount, bucket, held_start = unpacked(HELD, record, held) end
      local place, change = place_of(window, bucket), -amount
      if window == 'm' then change = actual - amount end
      if held_start == start then
        if window ~= 'm' then used = used + actual elseif not held then last = newest end
        if bucket == newest then
          change = math.max(change, -here)
          open, here = open + change, here + change
        elseif bucket > tick then
          open = open + put_in_ring(KEYS[i + 1], values[i + 1], place, change)
        end
        save(i, tick, ends, open, here, used, last, belief, start)
      end
    end
  end
  call('SET', record_key, pack(RECORD, 'e', now), 'PX', FINISHED_MS)
  return 1
end

if operation == 'touch' then
  if not record then return 0 end
  record = pack(RECORD, 'r', deadline) .. record:sub(RECORD_BYTES + 1)
  for i = 1, rules do
    local kind, window = rule(i)
    local key = KEYS[i + 1]
    local held = place_held(key)
    if held and kind == 'c' then
      call('ZREMRANGEBYSCORE', key, '-inf', now)
      call('ZADD', key, 'XX', deadline, record_key)
      call('PEXPIRE', key, deadline - now + SLACK_MS)
    elseif held and kind ~= 'r' and window ~= 'm' then
      local tick, ends, open, here, used, last, belief, start = head_of(i, window)
      local amount, bucket, held_start = unpacked(HELD, record, held)
      local newest = tick + life_of(window)
      if held_start == start and bucket > tick then
        local moved = -put_in_ring(key, values[i + 1], place_of(window, bucket), -amount)
        save(i, tick, ends, open, here + moved, used, last, belief, start)
        record = record:sub(1, held - 1) .. pack(HELD, amount, newest, start) .. record:sub(held + 24)
      end
    end
  end
  call('SET', record_key, record, 'PX', deadline - now + SLACK_MS)
  return 1
end

for at = 4, #ARGV, 3 do
  local i, spent = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local _, window = rule(i)
  local tick, ends, open, here, used, last, belief, start = head_of(i, window)
  if start == tonumber(ARGV[at + 2]) and belief ~= KNOWN then
    used = belief == DOUBTFUL and math.max(used, spent) or used + spent
    save(i, tick, ends, open, here, used, last, KNOWN, start)
    values[i + 1] = pack(HEAD, tick, ends, open, here, used, last, KNOWN, start) .. values[i + 1]:sub(HEAD_BYTES + 1)
  end
end

-- Until an amount may fit in a counter that it does not fit in now.
local function wait_of(value, kind, window, room, now)
  if room < 0 then return -1 end
  if kind == 'c' then return 1000 end
  local tick, ends, open, here, used = struct.unpack('<ddddd', value)
  if window ~= 'm' then return used <= room and 1000 or ends - now end
  local newest = tick + 61
  for bucket = tick + 1, newest - 1 do
    open = open - struct.unpack('<d', value, 65 + 8 * (bucket % 61))
    if open <= room then return bucket * 1000 - now end
  end
  return newest * 1000 - now
end

local unknown
local binding, wait = 0, ended and -1 or 0
for i = 1, rules do
  local kind, window, limit = rule(i)
  local key, total = KEYS[i + 1], 0
  if kind == 'c' then
    call('ZREMRANGEBYSCORE', key, '-inf', now)
    total = call('ZCARD', key)
    values[i + 1] = total
  else
    local _, _, open, _, used, _, belief, start = head_of(i, window)
    total = used + open
    if kind == 's' and belief ~= KNOWN and operation == 'admit' then
      unknown = (unknown or pack('<i8', 2)) .. pack('<i8i8', i, start)
    end
  end
  local amount = amount_of(kind)
  if total + amount > limit and operation == 'admit' and not ended and wait ~= -1
      and not (record and place_held(key)) then
    local own = wait_of(values[i + 1], kind, window, limit - amount, now)
    if own == -1 or own > wait then binding, wait = i, own end
  end
end
if unknown then return unknown end

local fits = binding == 0 and not ended
local grown = record
if fits and not record then grown, until_ms = pack(RECORD, 'r', deadline), deadline end
local answer = pack('<i8i8i8i8', fits and 1 or 0, binding, wait, now)
for i = 1, rules do
  local kind, window, limit = rule(i)
  local key, amount, total, reset_s = KEYS[i + 1], amount_of(kind), values[i + 1], 0
  local takes, bucket, start = fits and not (record and place_held(key)), 0, 0
  if kind == 'c' then
    if takes then
      total = total + call('ZADD', key, deadline, record_key)
      call('PEXPIRE', key, deadline - now + SLACK_MS)
    end
  else
    local tick, ends, open, here, used, last, belief, start_of = unpacked(HEAD, total)
    start = start_of
    if takes then
      if kind == 'r' and window ~= 'm' then
        used = used + 1
      else
        bucket = tick + life_of(window)
        open, here = open + amount, here + amount
        if amount > 0 then last = bucket end
      end
      save(i, tick, ends, open, here, used, last, belief, start)
    end
    total = used + open
    if total > 0 then reset_s = (window == 'm' and last or ends / 1000) - second end
  end
  if takes then grown = grown .. pack('<dddI4', amount, bucket, start, #key) .. key end
  answer = answer .. pack('<i8i8', total < limit and limit - total or 0, reset_s)
end
if fits then call('SET', record_key, grown, 'PX', until_ms - now + SLACK_MS) end
return answer
