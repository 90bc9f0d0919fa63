-- Finds the model in a JSON body, and changes such a body.

local WANT_STREAM = { model = true, stream = true }
local WANT_TEXT = { model = true, stream = true, stream_options = true } -- whose streams report usage where they are asked to
-- By operation and dialect; others: WANT_MODEL.
local WANT = {
  chat = { ["openai-chat"] = WANT_TEXT, ["openai-responses"] = WANT_STREAM, ["anthropic-messages"] = WANT_STREAM,
    ["cohere-chat"] = WANT_STREAM },
  completions = { ["openai-chat"] = WANT_TEXT },
  fim = { ["openai-chat"] = WANT_STREAM },
  image_generation = { ["openai-chat"] = WANT_STREAM },
}
local WANT_NONE = {}
local WANT_MODEL = { model = true }
local WANT_INCLUDE = { include_usage = true }

-- Why the body is not read because of its encoding, or nil.
local function unfit_coding(headers)
  local coding = headers:get("content-encoding")
  if coding and coding ~= "" and lower(coding) ~= "identity" then
    return "unsupported_content_encoding", "Compressed request bodies are not read; send the body without content-encoding."
  end
end

-- Why these headers do not announce plain JSON, or nil.
local function unfit_headers(headers)
  local kind = headers:get("content-type")
  if kind ~= "application/json" then
    local rest = kind and match(lower(kind), "^application/json%s*(.*)$")
    if not rest or (rest ~= "" and sub(rest, 1, 1) ~= ";") then
      return "unsupported_content_type", "Send the body as JSON with the header 'content-type: application/json'."
    end
    local charset = match(rest, "charset%s*=%s*\"?([^\";%s]*)")
    if find(rest, ",", 1, true) or (charset and charset ~= "utf-8" and charset ~= "us-ascii") then
      return "unsupported_content_type", "Send the body as UTF-8 JSON with the header 'content-type: application/json'."
    end
  end
  return unfit_coding(headers)
end

-- A part of the body at p, as text.
local function part(p, a, b)
  return text_at(p + (a - 1), b - a + 1)
end

-- The edit that makes a streamed openai-chat request report its usage: first and last byte to replace and the new
-- text. nil when the client asks for usage itself, or the field is nothing we understand (the provider will say so).
local function usage_edit(p, from, till)
  local at = from.stream_options
  if not at then
    return till.stream + 1, till.stream, ',"stream_options":{"include_usage":true}'
  end
  local options = part(p, at, till.stream_options)
  if options == "null" then
    return at, till.stream_options, '{"include_usage":true}'
  elseif byte(options) ~= 123 then
    return nil
  end
  local inner_from, inner_till = {}, {}
  if not survey(options, 1, WANT_INCLUDE, inner_from, inner_till, false) then return nil end
  local value = inner_from.include_usage
  if not value then
    local _, c = solid(options, 2)
    return at + 1, at, c == 125 and '"include_usage":true' or '"include_usage":true,'
  end
  local was = sub(options, value, inner_till.include_usage)
  if was == "false" or was == "null" then return at + value - 1, at + inner_till.include_usage - 1, "true" end
  return nil
end

-- Reads the top level of a body, of which s is all or the first window. Returns nothing, or what is wrong and the key concerned.
local function read_top(s, want, from, till)
  local i, c
  i, c, s = solid_on(s, 1)
  if c ~= 123 then return find(s, "^\239\187\191") and "bom" or "json" end
  local past, problem, key = survey(s, i, want, from, till, true)
  if not past then return problem, key end
  s = problem
  i, c = solid_on(s, past)
  if c then return "json" end
end

local top_from, top_till = {}, {} -- of read_model; nothing waits between it and the last use of them

local top_text -- keeps what read_model returns alive

-- Reads the model out of the body. Returns where the body is in memory, first and last byte of the model in it, and the
-- tables of survey, all until the next call; or nil, problem, key. optional: the body may name none.
local function read_model(body, size, want, optional)
  local from, till = top_from, top_till
  clear(from)
  clear(till)
  whole:reset()
  whole_size = 0
  local problem, key, p
  if size > WINDOW_BYTES then
    window_body, window_size = body, size
    problem, key = read_top(look(0), want, from, till)
    window, window_body = nil, nil
    p = cast(octets, (whole:ref()))
  else
    window = nil
    top_text = body:getBytes(0, size)
    problem, key = read_top(top_text, want, from, till)
    p = cast(octets, top_text)
  end
  if problem then return nil, problem, key end
  local a = from.model
  if not a then
    if optional then return p, nil, nil, from, till end
    return nil, "missing"
  end
  if p[a - 1] ~= 34 then return nil, "kind" end
  local b = till.model - 1
  a = a + 1
  if b < a then return nil, "blank" end
  if b - a >= MODEL_BYTES_MAX then return nil, "long" end
  for k = a - 1, b - 1 do
    local c = p[k]
    if c < 32 or c == 92 or c == 127 then return nil, "escaped" end
  end
  return p, a, b, from, till
end

local spliced = buffer.new()

-- Replaces the body at p: its bytes a..b become text, and, where c is given, c..d further back become other.
local function splice(body, p, size, a, b, text, c, d, other)
  spliced:reset():putcdata(p, a - 1):put(text)
  if c then
    spliced:putcdata(p + b, c - 1 - b):put(other)
    b = d
  end
  body:setBytes(spliced:putcdata(p + b, size - b):tostring())
end

-- The same for a body that is at hand piece by piece only.
local function splice_long(body, size, a, b, text)
  spliced:reset()
  for at = 0, a - 2, WINDOW_BYTES do spliced:put(body:getBytes(at, a - 1 - at < WINDOW_BYTES and a - 1 - at or WINDOW_BYTES)) end
  spliced:put(text)
  for at = b, size - 1, WINDOW_BYTES do spliced:put(body:getBytes(at, size - at < WINDOW_BYTES and size - at or WINDOW_BYTES)) end
  body:setBytes(spliced:tostring())
end

-- Settles how often garbage is collected, after a body of this size.
local function settle(size)
  local fit = size > LONG_BYTES and PAUSE_LONG or PAUSE
  if fit ~= pause then
    pause = fit
    collectgarbage("setpause", fit)
  end
  if size > COLLECT_BYTES then
    top_text = nil
    whole:free()
    spliced:free()
    collectgarbage()
  end
end
