-- The rules of domain/breaker.py, where all workers meet: one worker's news in, everybody's states out.
--
-- KEYS: one per deployment.
-- ARGV: policy as JSON; the worker's time in ms; how far its clock may be off, in ms; how long a state is kept, in ms;
--       then for each key its news, a JSON array ('' for none).
-- Answers one state per key as JSON, '' where nothing is known.

local policy = cjson.decode(ARGV[1])
local now = tonumber(ARGV[2])
local LONGEST = 900000

local time = redis.call('TIME')
if math.abs(time[1] * 1000 + math.floor(time[2] / 1000) - now) > tonumber(ARGV[3]) then
  return redis.error_reply('SKEW this clock is too far from the server\'s')
end

local NUMBERS = {
  'half', 'calls', 'failed', 'slow', 'earlier_calls', 'earlier_failed', 'earlier_slow', 'throttled_until_ms',
  'open_until_ms', 'opened', 'probe_until_ms', 'changed_ms',
}

local function fresh(throttled_until, changed)
  local state = {reason = '', probe = ''}
  for _, field in ipairs(NUMBERS) do state[field] = 0 end
  state.throttled_until_ms, state.changed_ms = throttled_until, changed
  return state
end

local function load(text)
  local state = fresh(0, 0)
  local readable, stored = pcall(cjson.decode, text or '')
  if not readable or type(stored) ~= 'table' then return state end
  for field, default in pairs(state) do
    if type(stored[field]) == type(default) then state[field] = stored[field] end
  end
  return state
end

local function lasts(till) return now < till and till <= now + LONGEST end

local function half_open(state)
  return state.opened > 0 and not lasts(state.open_until_ms)
    and not (state.probe ~= '' and lasts(state.probe_until_ms))
end

local function open(state, reason)
  local lasting = math.min(policy.open_ms * 2 ^ math.min(state.opened, 16), policy.longest_open_ms)
  local opened = fresh(state.throttled_until_ms, now)
  opened.open_until_ms, opened.opened, opened.reason = now + lasting, state.opened + 1, reason
  return opened
end

local function sick(state)
  local calls = state.calls + state.earlier_calls
  if calls < math.max(policy.minimum_calls, 1) then return nil end
  if (state.failed + state.earlier_failed) * 100 >= policy.error_percent * calls then return 'errors' end
  if policy.slow_ms ~= cjson.null and (state.slow + state.earlier_slow) * 100 >= policy.slow_percent * calls then
    return 'slow'
  end
end

local told = {}

function told.ended(state, news)
  if state.opened > 0 then return state end
  local calls = math.max(news.calls, 0)
  local half = math.floor(now * 2 / policy.window_ms)
  local ahead = half - state.half
  if ahead < -1 or ahead > 0 then
    for _, count in ipairs({'calls', 'failed', 'slow'}) do
      state['earlier_' .. count] = ahead == 1 and state[count] or 0
      state[count] = 0
    end
    state.half = half
  end
  state.calls = state.calls + calls
  state.failed = state.failed + math.min(math.max(news.failed, 0), calls)
  state.slow = state.slow + math.min(math.max(news.slow, 0), calls)
  local reason = sick(state)
  return reason and open(state, reason) or state
end

function told.throttle(state, news)
  if news.until_ms > math.max(now, state.throttled_until_ms) then
    state.throttled_until_ms = math.min(news.until_ms, now + LONGEST)
  end
  return state
end

function told.ask(state, news)
  if half_open(state) then
    state.probe, state.probe_until_ms, state.changed_ms = news.probe, now + policy.probe_ms, now
  end
  return state
end

function told.probed(state, news)
  if news.probe == '' or news.probe ~= state.probe then return state end
  if news.good == cjson.null then
    state.probe, state.probe_until_ms, state.changed_ms = '', 0, now
    return state
  end
  return news.good and fresh(state.throttled_until_ms, now) or open(state, 'probe_failed')
end

local states = {}
for index, key in ipairs(KEYS) do
  local text, news = redis.call('GET', key), ARGV[4 + index]
  if news ~= '' then
    local state = load(text)
    for _, piece in ipairs(cjson.decode(news)) do state = told[piece.type](state, piece) end
    text = cjson.encode(state)
    redis.call('SET', key, text, 'PX', ARGV[4])
  end
  states[index] = text or ''
end
return states
