-- What meters share: how they publish, and the pieces that they read. METERS has one for each dialect (edge/meter_*.lua):
--   usage(total, s, i, z)     merges the usage object s[i..z] into total: {input, cached, cache_write, output, reasoning}, in tokens; input
--                             counts all of them, cached ones too
--   whole(s, known, cut)      reads a whole answer, or the end of a long one (cut), behind its usage
--   all(s, known, cut, ending) instead of it, where also the usage stands elsewhere; ending: the last byte that is not blank
--   message_is_error          a short answer with a message at its top level is an error
--   stream(s, known)          reads complete lines of a stream; returns whether they said anything
--   most                      bytes of an incomplete line that are kept
--   on                        nothing says that no more will come
--   frames(h, silence)        meters a stream of AWS's frames
local METERS = {}
local WANT_ERROR = { type = true, code = true, status = true }

-- A word of a provider, bounded, without what would end it in the text of `publish`.
local function word(text)
  if not text then return "" end
  if #text > WORD_BYTES_MAX then text = sub(text, 1, WORD_BYTES_MAX) end
  if find(text, ";", 1, true) then text = gsub(text, ";", ",") end
  return text
end

-- What the meter knows so far, as one text: "complete;input,cached,cache_write,output,reasoning;finish;stream_error", with nothing
-- where nothing is known. A text, because a table costs a microsecond a value. Handles that a script gets from h do not
-- outlive the wait for the next chunk: ask for them each time.
local function publish(h, known)
  local u, usage = known.usage, ""
  if u then
    usage = (u.input or "") .. "," .. (u.cached or "") .. "," .. (u.cache_write or "") .. "," .. (u.output or "") .. ","
      .. (u.reasoning or "")
  end
  local text = (known.complete and "1;" or "0;") .. usage .. ";" .. word(known.finish) .. ";" .. word(known.stream_error)
  h:streamInfo():dynamicMetadata():set(SPACE, "meter", text)
end

-- The number behind the first `name` (with its quotes) in s[i..z]; nil when there is none. No patterns here and below:
-- LuaJIT does not compile them, and an answer is metered while its client waits.
local function count(s, name, i, z)
  local p, c = find(s, name, i, true), nil
  if not p or p > z then return nil end
  p, c = solid(s, p + #name)
  if c ~= 58 then return nil end
  p, c = solid(s, p + 1)
  local n
  while c and c > 47 and c < 58 do
    n = (n or 0) * 10 + c - 48
    p = p + 1
    c = byte(s, p)
  end
  return n
end

local function exact(s, from, till, name)
  local a = from[name]
  return a and tonumber(sub(s, a, till[name]))
end

local function string_at(s, from, till, name)
  local a = from[name]
  return a and byte(s, a) == 34 and sub(s, a + 1, till[name] - 1) or nil
end

-- The string that is the value at i, nil when it is none.
local function string_value(s, i)
  local z = i and byte(s, i) == 34 and past_string(s, i)
  return z and sub(s, i + 1, z - 2) or nil
end

-- The value of the first `name` (with its quotes) in s[i..z], if that is a string.
local function string_in(s, name, i, z)
  local p = find(s, name, i, true)
  if not p or p > z then return nil end
  local c
  p, c = solid(s, p + #name)
  return c == 58 and string_value(s, (solid(s, p + 1))) or nil
end

local function error_type(s, at)
  local from, till = {}, {}
  if byte(s, at) ~= 123 or not survey(s, at, WANT_ERROR, from, till, false) then return "error" end
  return string_at(s, from, till, "type") or string_at(s, from, till, "code") or string_at(s, from, till, "status") or "error"
end

-- The meter of a dialect. Those that are not known are of OpenAI's kind.
local function meter_of(dialect)
  return METERS[dialect] or METERS["openai-chat"]
end

-- Merges the usage object that opens at s[i] into known.usage. Returns whether it is an object.
local function add_usage(known, meter, s, i)
  local z = past_nested(s, i)
  if not z then return false end
  local total = known.usage or {}
  known.usage = total
  meter.usage(total, s, i, z)
  return true
end
