-- Whole answers.

-- Where the last value of `key` (with its quotes) begins in a JSON text of which maybe only the end is at hand, if that is
-- at the top level: what follows it must close one bracket more than it opens, exactly at the end.
local function last_value(s, key)
  local found, p = nil, find(s, key, 1, true)
  while p do
    local i, c = solid(s, p + #key)
    if c == 58 then found = solid(s, i + 1) end
    p = find(s, key, p + #key, true)
  end
  local i = found
  while i do
    local c
    i, c = solid(s, i)
    local kind = KIND[c]
    if kind == 1 then
      i = i + 1
    elseif kind == 2 then
      i = past_string(s, i)
    elseif kind == 3 then
      i = past_nested(s, i)
    elseif c == 125 then
      i, c = solid(s, i + 1)
      return not c and found or nil
    else
      return nil
    end
  end
end

local WANT_ANSWER = { usage = true, stop_reason = true, finish_reason = true, meta = true }

-- Where the last value of the top-level key `name` begins. Cheap where that key is the last of its name, as vendors send
-- it; else the text is read from its beginning, if that is at hand.
local function top_value(s, name, key, cut)
  local at = last_value(s, key)
  if at or cut or not find(s, key, 1, true) then return at end
  local from = {}
  local i, c = solid(s, 1)
  if c == 123 then survey(s, i, WANT_ANSWER, from, {}, false) end
  return from[name]
end

local whole_known, whole_usage = {}, {} -- used again by each whole answer: nothing waits between clearing and publishing

local WANT_WHOLE_ERROR = { error = true, message = true }

-- The whole answer, or of a long one its end. `length` is what its headers say.
local function whole_answer(h, length)
  if length and length <= WHOLE_BYTES_MAX then -- waiting for all of it at once is cheaper
    local body = h:body()
    return body and body:getBytes(0, body:length()), false
  end
  local s, size = nil, 0 -- what is kept, and how many bytes came since it was last cut to its end
  local parts, cut = nil, false
  for chunk in h:bodyChunks() do
    local n = chunk:length()
    if n > 0 then
      local fresh = chunk:getBytes(0, n)
      size = size + n
      if not s then
        s = fresh
      else
        parts = parts or { s }
        parts[#parts + 1] = fresh
      end
      if parts and size > 2 * WHOLE_BYTES_MAX then
        s = sub(concat(parts), -WHOLE_BYTES_MAX)
        parts, size, cut = nil, #s, true
      end
    end
  end
  return parts and concat(parts) or s, cut
end

local function meter_whole(h, meter, length, dialect)
  local s, cut = whole_answer(h, length)
  if not s or s == "" then return end
  local last = #s
  local c = byte(s, last)
  while c == 10 or c == 32 or c == 13 or c == 9 do
    last = last - 1
    c = byte(s, last)
  end
  -- No JSON document ends so. Its headers have not gone, since all of it was waited for.
  if c ~= 125 and c ~= 93 and length and length <= WHOLE_BYTES_MAX then return answer_broken(h, dialect, h:body()) end
  local known = whole_known
  clear(known)
  if meter.all then
    meter.all(s, known, cut, c)
    return publish(h, known)
  end
  known.complete = c == 125
  local usage = top_value(s, "usage", '"usage"', cut)
  if usage and byte(s, usage) == 123 then
    clear(whole_usage)
    known.usage = whole_usage
    if not add_usage(known, meter, s, usage) then known.usage = nil end
  elseif last < ERROR_BYTES_MAX then -- an error inside a 200 counts no tokens and is short
    local from, till = {}, {}
    if survey(s, (solid(s, 1)), WANT_WHOLE_ERROR, from, till, false) then
      if from.error and byte(s, from.error) ~= 110 then -- null
        known.stream_error = error_type(s, from.error)
      elseif from.message and meter.message_is_error then
        known.stream_error = "error"
      end
    end
  end
  meter.whole(s, known, cut)
  publish(h, known)
end
