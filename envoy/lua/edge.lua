-- The edge filter: the one Lua filter of the listener. Static: what differs per route comes from route metadata.
--
-- Request:  finds the model that the body names, puts it into the header that selects the route, writes the upstream
--           name into the body where all targets of the route share one, and refuses whatever a provider could read
--           in another way than we do (README.md lists the rules).
-- Response: meters usage, finish reason and completeness into dynamic metadata for the access journal.
--
-- Sound and cheap because of two facts. Inside a JSON string every quote is escaped, so strings are skipped by jumping
-- from quote to quote (LuaJIT compiles plain find to memchr). And only the top level is ever understood: nested values
-- are skipped by counting brackets.
--
-- An error in this script would let the request go on unchanged: in the scope "*", which has no provider behind it.

local byte, find, sub, match, gmatch, gsub = string.byte, string.find, string.sub, string.match, string.gmatch, string.gsub
local lower, char, format, concat, tonumber = string.lower, string.char, string.format, table.concat, tonumber
local ffi = require("ffi")
local cast, octets, text_at = ffi.cast, ffi.typeof("const uint8_t *"), ffi.string
local buffer = require("string.buffer")
local clear = require("table.clear")

-- Most of what a request allocates is its body, and the live heap of this script is small: a cycle over it takes 20 µs. So cycles
-- are run at once and often: what they free is then still in the processor's cache. Less often after a long body, so that a
-- string that comes again (a history that is sent with every turn) is found and not made anew.
collectgarbage("setstepmul", 1000000) -- a cycle is one step
local PAUSE, PAUSE_LONG = 150, 400 -- start one when the heap is so many percent of what the last one left
local pause = PAUSE
collectgarbage("setpause", pause)
local LONG_BYTES = 65536
local COLLECT_BYTES = 1048576 -- after a body that is larger, at once

local MODEL_HEADER = "x-headgate-model"
local SPACE = "headgate" -- dynamic metadata namespace

local DEPTH_MAX = 64 -- nested arrays and objects; deeper bodies are attacks on parsers
local MODEL_BYTES_MAX = 200
local WORD_BYTES_MAX = 64 -- a finish reason or the type of an error
local KEY_BYTES_MAX = 84 -- "stream_options" with every letter written as \u00xx; longer keys cannot be one of ours
local CARRY_BYTES_MAX = 65536 -- an incomplete line of a stream, kept for the meter
local FRAME_BYTES_MAX = 1048576 -- the same for a frame of AWS's streams: the last one may hold what a guardrail found
local RESPONSE_BYTES_MAX = 1048576 -- the same for Responses, whose last event repeats the answer, the instructions and the tools
local HELD_BYTES_MAX = 16384 -- an incomplete event kept from the client; a usage-only chunk has under 2 KiB
local ERROR_BYTES_MAX = 4096 -- a whole answer that may be an error
local WHOLE_BYTES_MAX = 65536 -- of a whole answer that is longer than twice this, only the end is kept for the meter
local RELINKED_BYTES_MAX = 4194304 -- a list of batches, a thousand at most
local SUGGESTIONS_PER_SECOND = 20 -- nearest names are worked out at most so often per worker

-- Bytes that may stand between the strings of a JSON text: 1 plain, 2 quote, 3 opens, 4 closes; nil: not JSON.
local KIND = {}
for c in ("\t\n\r ,:+-.0123456789"):gmatch(".") do KIND[byte(c)] = 1 end
for c = 65, 90 do KIND[c], KIND[c + 32] = 1, 1 end
KIND[34], KIND[123], KIND[91], KIND[125], KIND[93] = 2, 3, 3, 4, 4
for c = 0, 255 do KIND[c] = KIND[c] or 0 end
local SCALAR = {}
for c = 0, 255 do SCALAR[c] = KIND[c] == 1 and c > 32 and c ~= 44 and c ~= 58 end

-- ------------------------------------------------------------------------------------------------ reading JSON

-- A long body is read through a window, as a long string would cost fresh memory from the system, page by page. The window is
-- the string s that the functions below are given; where it ends and the body goes on, they slide it and return the new one.
local WINDOW_BYTES = 32768 -- even, see past_string
local window -- the current one; nil when a text is read that is no window
local window_before = 0 -- bytes of the body before it
local window_body, window_size -- the body behind it
local whole, whole_size = buffer.new(), 0 -- all of the body that was seen

local function look(before)
  local n = window_size - before
  window_before, window = before, window_body:getBytes(before, n < WINDOW_BYTES and n or WINDOW_BYTES)
  whole:put(before < whole_size and sub(window, whole_size - before + 1) or window)
  whole_size = before + #window
  return window
end

-- The window that begins at position i of s; nil when s is no window or has all the rest of the body.
local function slide(s, i)
  if s ~= window or window_before + #s >= window_size then return nil end
  return look(window_before + i - 1)
end

-- Position and byte of the first byte at or after i that is not blank (byte nil at the end).
local function solid(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- As solid; also returns the window.
local function solid_on(s, i)
  local c
  i, c = solid(s, i)
  while not c do
    local slid = slide(s, i)
    if not slid then return i, nil, s end
    s = slid
    i, c = solid(s, 1)
  end
  return i, c, s
end

-- Position after the string whose opening quote is at i, and the window; nil when it does not end.
local function past_string(s, i)
  local quote, before = i, nil
  repeat
    quote = find(s, '"', quote + 1, true)
    while not quote do
      -- Go on behind the window, or from the backslashes that it ends with. If it is nothing else, they are pairs.
      local last = #s
      while byte(s, last) == 92 do last = last - 1 end
      s = slide(s, (last == 0 and #s or last) + 1)
      if not s then return nil end
      quote = find(s, '"', 1, true)
    end
    before = quote - 1
    while byte(s, before) == 92 do before = before - 1 end
  until (quote - before) % 2 == 1
  return quote + 1, s
end

-- Position after the array or object that opens at i, and the window; nil and why when it does not end, or is not one.
local opened = {}
local function past_nested(s, i)
  local depth = 1
  opened[1] = byte(s, i)
  i = i + 1
  repeat
    local c = byte(s, i)
    local kind = KIND[c]
    if kind == 1 then
      i = i + 1
    elseif kind == 2 then
      i, s = past_string(s, i)
      if not i then return nil, "json" end
    elseif kind == 3 then
      depth = depth + 1
      if depth >= DEPTH_MAX then return nil, "depth" end
      opened[depth] = c
      i = i + 1
    elseif kind == 4 and opened[depth] + 2 == c then -- both closers follow their openers by two
      depth = depth - 1
      i = i + 1
    else
      s = not c and slide(s, i)
      if not s then return nil, "json" end
      i = 1
    end
  until depth == 0
  return i, s
end

local function code_point(hex)
  local c = tonumber(hex, 16)
  if c == 0x17f then return "s" elseif c == 0x212a then return "k" end
  return c < 128 and char(c) or "?"
end

-- What a key spells, and whether plainly. Other spellings are escapes and, as Go's JSON decoder matches keys without regard to
-- case, capitals and the letters that fold to s and k.
local function spelling(key)
  local plain = true
  for k = 1, #key do
    local c = byte(key, k)
    if c == 92 or c > 122 or (c < 91 and c > 64) then plain = false end
  end
  if plain then return key, true end
  key = gsub(key, "\\u(%x%x%x%x)", code_point)
  return lower((gsub(gsub(key, "\197\191", "s"), "\226\132\170", "k"))), false
end

-- Keys that were found plain; requests repeat them.
local PLAIN_KEPT_MAX = 1024
local plain_kept, plain_count = {}, 0

-- The name in `want` that the key s[a..b] spells, and whether it is spelled plainly.
local function wanted(s, a, b, want)
  if b - a >= KEY_BYTES_MAX then return nil end
  local key = sub(s, a, b)
  if want[key] then return key, true end -- as it should be spelled, of an answer perhaps with capitals
  if plain_kept[key] then return nil, true end
  local name, plain = spelling(key)
  if plain then
    if plain_count == PLAIN_KEPT_MAX then plain_kept, plain_count = {}, 0 end
    plain_kept[key], plain_count = true, plain_count + 1
  end
  return want[name] and name, plain
end

-- Reads the top level of the object that opens at i: first and last byte of the value of each wanted key go into
-- `from` and `till`; in the body, where s is a window. Returns the position after the object and the window, or nil, what is
-- wrong and the key concerned.
-- strict: one spelling, once. Otherwise the last one counts, as most parsers have it.
local function survey(s, i, want, from, till, strict)
  local c, problem
  i, c, s = solid_on(s, i + 1)
  if c == 125 then return i + 1, s end
  while true do
    if c ~= 34 then return nil, "json" end
    if #s - i < KEY_BYTES_MAX + 2 then -- a key that matters must be in one piece
      local slid = slide(s, i)
      if slid then s, i = slid, 1 end
    end
    local key, held = i + 1, s
    i, s = past_string(s, i)
    if not i then return nil, "json" end
    local name, plain
    if s == held then name, plain = wanted(s, key, i - 2, want) end
    i, c, s = solid_on(s, i)
    if c ~= 58 then return nil, "json" end
    i, c, s = solid_on(s, i + 1)
    local value = (s == window and window_before or 0) + i
    if c == 34 then
      i, s = past_string(s, i)
      if not i then return nil, "json" end
    elseif c == 123 or c == 91 then
      i, problem = past_nested(s, i)
      if not i then return nil, problem end
      s = problem
    else
      if not SCALAR[c] then return nil, "json" end
      while SCALAR[c] do
        i = i + 1
        c = byte(s, i)
        local slid = not c and slide(s, i)
        if slid then s, i, c = slid, 1, byte(slid) end
      end
    end
    if name and (plain or strict) then
      if strict and not plain then return nil, "spelling", name end
      if strict and from[name] then return nil, "duplicate", name end
      from[name], till[name] = value, (s == window and window_before or 0) + i - 1
    end
    i, c, s = solid_on(s, i)
    if c == 125 then return i + 1, s end
    if c ~= 44 then return nil, "json" end
    i, c, s = solid_on(s, i + 1)
  end
end

-- ------------------------------------------------------------------------------------------------ answers

-- Text as the inside of a JSON string: ASCII, bounded, nothing that a log or terminal could act on.
local function quoted(text)
  if #text > MODEL_BYTES_MAX then text = sub(text, 1, MODEL_BYTES_MAX) .. "..." end
  text = gsub(text, "[\194-\244]?[\128-\191]+", "?") -- beyond ASCII, one for a character
  return (gsub(gsub(text, '["\\]', "\\%0"), "[%c\127-\255]", "?"))
end

local GOOGLE_STATUS = { ["404"] = "NOT_FOUND" } -- others here: INVALID_ARGUMENT

-- The error body of a client dialect. message is already JSON-escaped.
local function error_body(dialect, status, message, code, param)
  if dialect == "gemini-generate-content" then
    return '{"error":{"code":' .. status .. ',"message":"' .. message .. '","status":"' .. (GOOGLE_STATUS[status] or "INVALID_ARGUMENT") .. '"}}'
  end
  if dialect == "bedrock-converse" then
    local kind = status == "404" and "ResourceNotFoundException" or "ValidationException"
    return '{"__type":"' .. kind .. '","message":"' .. message .. '"}'
  end
  if dialect == "anthropic-messages" then
    local kind = code == "model_not_found" and "not_found_error" or "invalid_request_error"
    return '{"type":"error","error":{"type":"' .. kind .. '","message":"' .. message .. '"}}'
  end
  if dialect == "cohere-chat" then return '{"message":"' .. message .. '"}' end
  return '{"error":{"message":"' .. message .. '","type":"invalid_request_error","param":'
    .. (param and '"' .. param .. '"' or "null") .. ',"code":"' .. code .. '"}}'
end

local function refuse(h, dialect, status, code, message, param)
  h:respond({ [":status"] = status, ["content-type"] = "application/json" }, error_body(dialect, status, message, code, param))
end

local MESSAGES = {
  empty = { "missing_body", "The request has no body; send a JSON object with a 'model'." },
  json = { "invalid_json", "The body is not a valid JSON object; send one UTF-8 JSON object and nothing after it." },
  bom = { "invalid_json", "The body begins with a byte order mark; send plain UTF-8 without one." },
  depth = { "too_deep", "The body is nested more than " .. DEPTH_MAX .. " levels deep; flatten it." },
  missing = { "missing_model", "The body has no 'model' at its top level; name the model to use.", "model" },
  kind = { "invalid_model", "'model' must be a string that names a model.", "model" },
  blank = { "invalid_model", "'model' is empty; name the model to use.", "model" },
  long = { "invalid_model", "'model' is longer than " .. MODEL_BYTES_MAX .. " bytes.", "model" },
  named_twice = { "ambiguous_model", "The body names another model than the path; name it in the path only.", "model" },
  address = { "invalid_model", "The model in the path is not percent-encoded UTF-8 of 1 to " .. MODEL_BYTES_MAX .. " printable bytes.", "model" },
  unnamed = { "missing_model", "This call names no model; add '?model=' and the model whose provider keeps it, once and percent-encoded.", "model" },
  query = { "invalid_query", "The query is badly encoded or names a parameter more than once; send each one once, percent-encoded." },
  form = { "invalid_form", "The body is not plain multipart/form-data: parts between one boundary, CRLF line ends, one content-disposition for "
    .. "each part, nothing before or behind them." },
  boundary = { "invalid_form", "Name one boundary in the content-type, of 1 to 70 letters, digits and '()+_-./:=?, and no charset but UTF-8." },
  file = { "invalid_model", "'model' must be a text field of the form, not a file.", "model" },
  escaped = { "invalid_model", "'model' holds escapes or control characters; write the name as plain text.", "model" },
}

local function refuse_body(h, dialect, problem, key)
  local entry = MESSAGES[problem]
  if problem == "duplicate" then
    entry = { "duplicate_key", "The key '" .. key .. "' occurs more than once; providers disagree on which one counts, send it once.", key }
  elseif problem == "spelling" then
    entry = { "ambiguous_key", "A key reads as '" .. key .. "' but is spelled with capitals or escapes; write it as '" .. key .. "'.", key }
  end
  refuse(h, dialect, "400", entry[1], entry[2], entry[3])
end

-- ------------------------------------------------------------------------------------------------ facts

local FACTS_KEPT_MAX = 8192 -- texts; a gateway has a few for each route
local facts_kept, facts_count = {}, 0

-- What the route that is chosen now says about the request: the text `facts` of its metadata, "key=value" a line, read once.
-- nil when it says nothing.
local function facts_of(h)
  local text = h:metadata():get("facts")
  if not text then return nil end
  local facts = facts_kept[text]
  if facts then return facts end
  facts = {}
  for key, value in gmatch(text, "([^=\n]+)=([^\n]*)") do facts[key] = value end
  facts.max_bytes, facts.silence = tonumber(facts.max_bytes), tonumber(facts.silence)
  if facts_count == FACTS_KEPT_MAX then facts_kept, facts_count = {}, 0 end
  facts_kept[text], facts_count = facts, facts_count + 1
  return facts
end

-- ------------------------------------------------------------------------------------------------ request

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

-- Tells the access journal, and ourselves on the response, about the request. `how` is "whole", "stream", or "trim": a stream
-- whose usage chunk the client did not ask for. One text, since a table of them costs a microsecond a value.
local function announce(h, dialect, how, model)
  h:streamInfo():dynamicMetadata():set(SPACE, "asked", dialect .. " " .. how .. " " .. model)
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

-- Chooses the route of the model. Returns what it says; nil where the request is answered here or by envoy_on_response.
local function choose(h, headers, dialect, model, size)
  headers:replace(MODEL_HEADER, model)
  h:clearRouteCache()
  local facts = facts_of(h)
  if not facts then -- no such model; envoy_on_response writes the answer: only there is the metadata of "*" to be had again
    headers:replace(MODEL_HEADER, "*")
    h:clearRouteCache()
    announce(h, dialect, "whole", model)
    return nil
  end
  if facts.max_bytes and size > facts.max_bytes then return h:respond({ [":status"] = "413" }, "") end -- Envoy writes the text
  return facts
end

-- Notes for the targets where the model stands in the body, and the query. Not in headers: what one attempt removes from them is
-- gone for the next.
local function note(h, facts, headers, a, b)
  if facts.mark then h:streamInfo():dynamicMetadata():set("headgate.model", "at", format("%d,%d", a, b)) end
  if facts.restore then -- a target sets the path again after another attempt has changed it
    local path = headers:get(":path")
    local query = find(path, "?", 1, true)
    if query then h:streamInfo():dynamicMetadata():set("headgate.model", "query", sub(path, query)) end
  end
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

-- ------------------------------------------------------------------------------------------------ models in forms

-- The form that the body is, as form.read has it; nil when the request is answered here.
local function read_form(h, facts, headers, body, delimiter, optional)
  local code, why = unfit_coding(headers)
  if code then return refuse(h, facts.dialect, "415", code, why) end
  if not delimiter then return refuse_body(h, facts.dialect, "boundary") end
  if not body or body:length() == 0 then return refuse_body(h, facts.dialect, "empty") end
  local found, problem, key = form.read(body, body:length(), delimiter, optional)
  if not found then return refuse_body(h, facts.dialect, problem, key) end
  return found
end

-- A request whose body is a form.
local function on_form(h, facts, headers, body, delimiter)
  local dialect = facts.dialect
  local found = read_form(h, facts, headers, body, delimiter)
  if not found then return end
  local model, size, a, b = found.model, body:length(), found.first, found.last
  facts = choose(h, headers, dialect, model, size)
  if not facts then return end
  announce(h, dialect, found.stream == "true" and "stream" or "whole", model)
  if facts.rename and facts.rename ~= model then splice_long(body, size, a, b, facts.rename) end
  note(h, facts, headers, a, b)
  settle(size)
end

-- As move_into_body, for a form.
local function move_into_form(h, facts, headers, body, model, delimiter)
  local found = read_form(h, facts, headers, body, delimiter, true)
  if not found then return false end
  local size = body:length()
  if found.model then
    splice_long(body, size, found.first, found.last, model)
  else
    local field = delimiter .. '\r\nContent-Disposition: form-data; name="model"\r\n\r\n' .. model .. "\r\n"
    splice_long(body, size, 1, 0, field)
  end
  headers:replace(":path", facts.to)
  return true
end

-- ------------------------------------------------------------------------------------------------ models in the path

local QUERY_BYTES_MAX = 2048
-- What a query may not hold behind this filter: keys, and Google's ways to say another method or header than the request does.
local NOT_IN_QUERY = { key = true, access_token = true, oauth_token = true, ["$httpmethod"] = true, ["$httpheaders"] = true }

-- Percent-encoded text decoded; nil when it is badly encoded.
local function decoded(text)
  if not find(text, "%", 1, true) then return text end
  if find(text, "%%%X") or find(text, "%%.%X") or find(text, "%%.?$") then return nil end
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local UTF8 = {
  "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "\237[\128-\159][\128-\191]",
  "[\225-\236\238\239][\128-\191][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
  "[\241-\243][\128-\191][\128-\191][\128-\191]", "\244[\128-\143][\128-\191][\128-\191]",
}

local function is_utf8(text)
  for _, sequence in ipairs(UTF8) do text = gsub(text, sequence, ".") end
  return not find(text, "[\128-\255]")
end

-- The query that goes on, without what must not; nil when it can be read in two ways.
local function clean_query(query)
  if not query then return "" end
  if #query > QUERY_BYTES_MAX or find(query, "[^!-~]") then return nil end
  local kept, seen = {}, {}
  for pair in gmatch(query, "[^&;]+") do
    local name = decoded(match(pair, "^[^=]*"))
    if not name or seen[name] then return nil end
    seen[name] = true
    if not NOT_IN_QUERY[lower(name)] then kept[#kept + 1] = pair end
  end
  return concat(kept, "&")
end

local function is_model(name)
  return name and name ~= "" and #name <= MODEL_BYTES_MAX and not find(name, '[%c"\\\127]') and not find(name, "^ ")
    and not find(name, " $") and is_utf8(name)
end

-- The model that the path names, and the query; nil and what is wrong.
local function read_address(path, pattern)
  local mark = find(path, "?", 1, true)
  local query = clean_query(mark and sub(path, mark + 1))
  if not query then return nil, "query" end
  local model = match(mark and sub(path, 1, mark - 1) or path, pattern)
  model = model and decoded(model)
  if not is_model(model) then return nil, "address" end
  return model, query
end

-- Writes the model of the path into a body that should have it there, in place of what the body says itself: there it is a name
-- that servers of such paths ignore. From then on the request is one to facts.to.
local function move_into_body(h, facts, headers, body, model)
  local size = body:length()
  local p, a, b, from = read_model(body, size, WANT_MODEL, true)
  if not p then return refuse_body(h, facts.dialect, a, b) end
  if a then
    splice(body, p, size, a, b, model)
  else
    local text = body:getBytes(0, size)
    local open = find(text, "{", 1, true)
    local _, c = solid(text, open + 1)
    body:setBytes(sub(text, 1, open) .. '"model":"' .. model .. (c == 125 and '"' or '",') .. sub(text, open + 1))
  end
  headers:replace(":path", facts.to)
end

-- A request whose path names the model, and goes on to paths that do. The body stays as it is.
local function on_addressed_request(h, facts, headers, body, model, query)
  local dialect, size = facts.dialect, body:length()
  local p, a, b, from, till = read_model(body, size, WANT_MODEL, true)
  if not p then return refuse_body(h, dialect, a, b) end
  if a then
    local said = part(p, a, b)
    if said ~= model and said ~= "models/" .. model then return refuse_body(h, dialect, "named_twice") end
    splice(body, p, size, from.model, till.model, "null") -- a target may call the model otherwise
  end
  local path = headers:get(":path")
  headers:replace(MODEL_HEADER, model)
  headers:replace(":path", facts.to)
  h:clearRouteCache()
  local found = facts_of(h)
  if not found then -- as in envoy_on_request
    headers:replace(MODEL_HEADER, "*")
    headers:replace(":path", match(path, "^[^?]*"))
    h:clearRouteCache()
    return announce(h, dialect, "whole", model)
  end
  if found.max_bytes and size > found.max_bytes then return h:respond({ [":status"] = "413" }, "") end
  local how = facts.stream and "stream" or "whole"
  announce(h, dialect, how, model)
  local noted = h:streamInfo():dynamicMetadata()
  noted:set("headgate.model", "call", how .. " " .. query .. " " .. model)
  if query ~= "" then noted:set("headgate.model", "query", "?" .. query) end
end

-- Returns whether the request goes on as one whose body names the model.
local function on_address(h, facts)
  local body = h:body()
  local headers = h:headers()
  local delimiter
  if facts.form then delimiter = form.delimiter(headers:get("content-type")) end
  if delimiter == nil then
    local code, why = unfit_headers(headers)
    if code then return refuse(h, facts.dialect, "415", code, why) end
    if not body or body:length() == 0 then return refuse_body(h, facts.dialect, "empty") end
  end
  local model, query = read_address(headers:get(":path"), facts.address)
  if not model then return refuse_body(h, facts.dialect, query) end
  if not facts.into then return on_addressed_request(h, facts, headers, body, model, query) end
  if delimiter ~= nil then return move_into_form(h, facts, headers, body, model, delimiter) end
  move_into_body(h, facts, headers, body, model)
  return true
end

-- The model that the query names, and the rest of the query; nil when it names none, or two.
local function model_in_query(query)
  if #query > QUERY_BYTES_MAX or find(query, "[^!-~]") then return nil end
  local model, kept = nil, {}
  for pair in gmatch(query, "[^&]+") do
    local name = decoded(match(pair, "^[^=]*"))
    if not name then return nil end
    if name == "model" then
      if model then return nil end
      model = decoded(gsub(match(pair, "=(.*)$") or "", "%+", " "))
      if not is_model(model) then return nil end
    elseif not NOT_IN_QUERY[lower(name)] then
      kept[#kept + 1] = pair
    end
  end
  return model, concat(kept, "&")
end

-- A call about what a provider of the model keeps. What follows facts.stored in the path is the same there, and nobody reads the body.
local function on_stored(h, facts)
  local dialect = facts.dialect
  local body = h:body() -- also before a refusal
  local size = body and body:length() or 0
  local headers = h:headers()
  local path = headers:get(":path")
  local mark = find(path, "?", 1, true) or #path + 1
  local model, query = model_in_query(sub(path, mark + 1))
  if not model then return refuse_body(h, dialect, "unnamed") end
  local rest = sub(path, #facts.stored + 1, mark - 1)
  if facts.operation == "batches" and dialect == "anthropic-messages" then headers:remove("accept-encoding") end -- see relink
  if size > 0 then
    if not choose(h, headers, dialect, model, size) then return end
  else -- without a body there is no wait, so what the new route says cannot be read; if there is none, Envoy answers 404
    headers:replace(MODEL_HEADER, model)
    h:clearRouteCache()
  end
  announce(h, dialect, "whole", model)
  h:streamInfo():dynamicMetadata():set("headgate.model", "query", query == "" and rest or rest .. "?" .. query)
end

function envoy_on_request(h)
  local facts = facts_of(h)
  if not facts then return end -- not a model call: the route answers by itself
  if facts.stored then return on_stored(h, facts) end
  if facts.address and not on_address(h, facts) then return end
  local dialect = facts.dialect
  local body = h:body() -- also before a refusal, so that a client that is still sending reads it; handles are new after it
  local headers = h:headers()
  if facts.form then
    local delimiter = form.delimiter(headers:get("content-type"))
    if delimiter ~= nil then return on_form(h, facts, headers, body, delimiter) end
  end
  local code, why = unfit_headers(headers)
  if code then return refuse(h, dialect, "415", code, why) end
  local size = body and body:length() or 0
  if size == 0 then return refuse_body(h, dialect, "empty") end
  local want = (WANT[facts.operation] or WANT_NONE)[dialect] or WANT_MODEL
  local p, a, b, from, till = read_model(body, size, want)
  if not p then return refuse_body(h, dialect, a, b) end
  local model = part(p, a, b)
  facts = choose(h, headers, dialect, model, size)
  if not facts then return end

  local how = "whole"
  local at, upto, text -- the edit that asks for usage
  if from.stream and part(p, from.stream, till.stream) == "true" then
    how = "stream"
    if want == WANT_TEXT then
      at, upto, text = usage_edit(p, from, till)
      if at then how = "trim" end
    end
  end
  announce(h, dialect, how, model)
  local rename = facts.rename
  if rename == model then rename = nil end
  local shift = 0 -- how far that edit moves the model
  if at then
    if at < a then shift = #text - (upto - at + 1) end
    if not rename then
      splice(body, p, size, at, upto, text)
    elseif at < a then
      splice(body, p, size, at, upto, text, a, b, rename)
    else
      splice(body, p, size, a, b, rename, at, upto, text)
    end
  elseif rename then
    splice(body, p, size, a, b, rename)
  end
  note(h, facts, headers, a + shift, b + shift)
  settle(size)
end

-- ------------------------------------------------------------------------------------------------ usage

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

local WANT_COHERE_USAGE = { tokens = true, billed_units = true }
local WANT_USAGE = {
  input_tokens = true, output_tokens = true, cache_read_input_tokens = true, cache_creation_input_tokens = true,
}

local WANT_TOKENS = {
  inputTokens = true, outputTokens = true, totalTokens = true, cacheReadInputTokens = true, cacheWriteInputTokens = true,
}

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

-- As add_usage for Bedrock, which counts the cache beside the input, or for some models inside: its total tells.
local function add_tokens(total, s, i)
  local from, till = {}, {}
  survey(s, i, WANT_TOKENS, from, till, false) -- cacheDetails repeats a name
  local fresh, output = exact(s, from, till, "inputTokens"), exact(s, from, till, "outputTokens")
  local read, written = exact(s, from, till, "cacheReadInputTokens"), exact(s, from, till, "cacheWriteInputTokens")
  local beside = (read or 0) + (written or 0)
  if fresh and beside > 0 and not (exact(s, from, till, "totalTokens") == fresh + (output or 0) and beside <= fresh) then
    fresh = fresh + beside
  end
  total.input, total.output, total.cached, total.cache_write = fresh, output, read, written
end

-- Cohere counts what was used in `tokens`, images beside it, and what is billed in `billed_units`: so images are inside the input where
-- more is billed than that.
local function add_cohere_usage(total, s, i, z)
  local read, output, reasoning, images
  local from, till = {}, {}
  survey(s, i, WANT_COHERE_USAGE, from, till, false)
  local at = from.tokens
  if at and byte(s, at) == 123 then
    local last = till.tokens
    read, output = count(s, '"input_tokens"', at, last), count(s, '"output_tokens"', at, last)
    reasoning, images = count(s, '"reasoning_tokens"', at, last), count(s, '"image_tokens"', at, last)
  end
  at = from.billed_units
  if at and byte(s, at) == 123 then
    local paid = count(s, '"input_tokens"', at, till.billed_units)
    if read and paid and paid > read then read = read + (images or 0) end
    read = read or paid
    output = output or count(s, '"output_tokens"', at, till.billed_units)
  end
  total.input, total.output = read or total.input, output or total.output
  total.reasoning = reasoning or total.reasoning
  total.cached = count(s, '"cached_tokens"', i, z) or total.cached
end

-- Merges the usage object that opens at s[i] into known.usage: {input, cached, cache_write, output, reasoning}, in tokens;
-- input counts all of them, cached ones too. Returns whether it is an object.
local function add_usage(known, dialect, s, i)
  local z = past_nested(s, i)
  if not z then return false end
  local total = known.usage or {}
  known.usage = total
  if dialect == "bedrock-converse" then
    add_tokens(total, s, i)
    return true
  elseif dialect == "openai-responses" then
    total.input = count(s, '"input_tokens"', i, z) or total.input
    total.output = count(s, '"output_tokens"', i, z) or total.output
    total.cached = count(s, '"cached_tokens"', i, z) or total.cached
    total.cache_write = count(s, '"cache_write_tokens"', i, z) or total.cache_write
    total.reasoning = count(s, '"reasoning_tokens"', i, z) or total.reasoning
    return true
  elseif dialect == "gemini-generate-content" then
    local prompt, tools = count(s, '"promptTokenCount"', i, z), count(s, '"toolUsePromptTokenCount"', i, z)
    local visible, thoughts = count(s, '"candidatesTokenCount"', i, z), count(s, '"thoughtsTokenCount"', i, z)
    if prompt or tools then total.input = (prompt or 0) + (tools or 0) end
    if visible or thoughts then total.output = (visible or 0) + (thoughts or 0) end
    total.cached = count(s, '"cachedContentTokenCount"', i, z) or total.cached
    total.reasoning = thoughts or total.reasoning
    return true
  elseif dialect == "cohere-chat" then
    add_cohere_usage(total, s, i, z)
    return true
  elseif dialect ~= "anthropic-messages" then
    total.input = count(s, '"prompt_tokens"', i, z) or total.input
    total.output = count(s, '"completion_tokens"', i, z) or total.output
    if not total.input and not total.output then -- images and audio
      total.input, total.output = count(s, '"input_tokens"', i, z), count(s, '"output_tokens"', i, z)
    end
    total.cached = count(s, '"cached_tokens"', i, z) or count(s, '"prompt_cache_hit_tokens"', i, z) or total.cached
    total.cache_write = count(s, '"cache_write_tokens"', i, z) or total.cache_write
    total.reasoning = count(s, '"reasoning_tokens"', i, z) or total.reasoning
    return true
  end
  local fresh, read, written, output
  local thinking = count(s, '"thinking_tokens"', i, z)
  local list = find(s, "[", i, true)
  if list and list < z then -- `iterations` repeats the names
    local from, till = {}, {}
    survey(s, i, WANT_USAGE, from, till, false)
    fresh, output = exact(s, from, till, "input_tokens"), exact(s, from, till, "output_tokens")
    read = exact(s, from, till, "cache_read_input_tokens")
    written = exact(s, from, till, "cache_creation_input_tokens")
  else
    fresh, output = count(s, '"input_tokens"', i, z), count(s, '"output_tokens"', i, z)
    read, written = count(s, '"cache_read_input_tokens"', i, z), count(s, '"cache_creation_input_tokens"', i, z)
  end
  -- message_start counts the input, message_delta the output so far (and repeats the input, or sends 0, or nothing)
  local was = total.input and total.input - (total.cached or 0) - (total.cache_write or 0)
  if not was or (fresh and fresh > 0) then was = fresh or was end
  if read and (read > 0 or not total.cached) then total.cached = read end
  if written and (written > 0 or not total.cache_write) then total.cache_write = written end
  if output and (output > 0 or not total.output) then total.output = output end
  if thinking and (thinking > 0 or not total.reasoning) then total.reasoning = thinking end
  if was then total.input = was + (total.cached or 0) + (total.cache_write or 0) end
  return true
end

local function string_at(s, from, till, name)
  local a = from[name]
  return a and byte(s, a) == 34 and sub(s, a + 1, till[name] - 1) or nil
end

-- ------------------------------------------------------------------------------------------------ whole answers

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

-- The string that is the value at i, nil when it is none.
local function string_value(s, i)
  local z = i and byte(s, i) == 34 and past_string(s, i)
  return z and sub(s, i + 1, z - 2) or nil
end

-- The finish reason of the first choice: a key of that name occurs nowhere else in an OpenAI answer.
local function finish_in(s)
  local p = find(s, '"finish_reason"', 1, true)
  if not p then return nil end
  local i, c = solid(s, p + 15)
  return c == 58 and string_value(s, (solid(s, i + 1))) or nil
end

-- The value of the first `name` (with its quotes) in s[i..z], if that is a string.
local function string_in(s, name, i, z)
  local p = find(s, name, i, true)
  if not p or p > z then return nil end
  local c
  p, c = solid(s, p + #name)
  return c == 58 and string_value(s, (solid(s, p + 1))) or nil
end

-- Why a response ended: what made it incomplete, else its status. Both stand before its output.
local function ending_in(s)
  local p = find(s, '"incomplete_details"', 1, true)
  if p then
    local i, c = solid(s, p + 20)
    if c == 58 then i, c = solid(s, i + 1) end
    local z = c == 123 and past_nested(s, i)
    if z then return string_in(s, '"reason"', i, z) or "incomplete" end
  end
  return string_in(s, '"status"', 1, #s)
end

local whole_known, whole_usage = {}, {} -- used again by each whole answer: nothing waits between clearing and publishing

local WANT_ERROR = { type = true, code = true, status = true }
local WANT_WHOLE_ERROR = { error = true, message = true }
local WANT_COHERE_ERROR = { message = true }
local COHERE_FAILED = { ERROR = true, TIMEOUT = true } -- finish reasons

local function error_type(s, at)
  local from, till = {}, {}
  if byte(s, at) ~= 123 or not survey(s, at, WANT_ERROR, from, till, false) then return "error" end
  return string_at(s, from, till, "type") or string_at(s, from, till, "code") or string_at(s, from, till, "status") or "error"
end

local WANT_GEMINI = { candidates = true, usageMetadata = true, promptFeedback = true, error = true, embedding = true, embeddings = true }
local WANT_CANDIDATE = { finishReason = true }
local WANT_FEEDBACK = { blockReason = true }

-- Reads a response of Gemini, a whole one or a chunk of a stream, that opens at s[a] into `known`; returns whether it said
-- anything. There is no last event: an answer that says why it ended is complete when its body ends.
local function read_gemini_response(s, a, known)
  local from, till = {}, {}
  if byte(s, a) ~= 123 or not survey(s, a, WANT_GEMINI, from, till, false) then return false end
  local inner_from, inner_till = {}, {}
  local i = from.candidates
  if i and byte(s, i) == 91 then
    i = solid(s, i + 1)
    if byte(s, i) == 123 and survey(s, i, WANT_CANDIDATE, inner_from, inner_till, false) and inner_from.finishReason then
      known.finish = string_at(s, inner_from, inner_till, "finishReason") or known.finish
      known.complete = true
    end
  end
  i = from.promptFeedback
  if i and byte(s, i) == 123 and survey(s, i, WANT_FEEDBACK, inner_from, inner_till, false) and inner_from.blockReason then
    known.finish = known.finish or string_at(s, inner_from, inner_till, "blockReason")
    known.complete = true
  end
  known.complete = known.complete or (from.embedding or from.embeddings) ~= nil -- vectors come whole
  i = from.usageMetadata
  if i and byte(s, i) == 123 then add_usage(known, "gemini-generate-content", s, i) end
  i = from.error
  if i and byte(s, i) ~= 110 then known.stream_error, known.complete = error_type(s, i), false end
  return known.usage or known.finish or known.stream_error
end

-- Reads a whole answer of Gemini, or the array that a stream without events is; of a long one maybe only the end is at hand.
local function read_gemini_whole(s, known, cut)
  local last = #s
  local i, c = solid(s, 1)
  if cut then -- the counts stand behind the candidates
    local usage, p = nil, find(s, '"usageMetadata"', 1, true)
    while p do
      usage, p = p, find(s, '"usageMetadata"', p + 15, true)
    end
    i, c = solid(s, (usage or last) + 15)
    i = c == 58 and solid(s, i + 1)
    if i and byte(s, i) == 123 then add_usage(known, "gemini-generate-content", s, i) end
    return
  end
  if c == 123 then
    read_gemini_response(s, i, known)
    return
  end
  while c == 91 or c == 44 do
    i, c = solid(s, i + 1)
    if c ~= 123 then break end
    read_gemini_response(s, i, known)
    i = past_nested(s, i)
    if not i then return end
    i, c = solid(s, i)
  end
  known.complete = known.complete and c == 93
end

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

-- What a whole Cohere answer says of its end; one that has a text for its message is an error. Embeddings and reranked documents
-- say in `meta` what is billed.
local function cohere_end(s, cut, known)
  local meta = not known.usage and top_value(s, "meta", '"meta"', cut)
  local last = meta and byte(s, meta) == 123 and past_nested(s, meta)
  local read = last and count(s, '"input_tokens"', meta, last)
  if read then
    clear(whole_usage)
    known.usage, whole_usage.input = whole_usage, read
  end
  local finish = string_value(s, top_value(s, "finish_reason", '"finish_reason"', cut))
  known.finish = finish
  if COHERE_FAILED[finish] then
    known.stream_error = finish
  elseif not finish and #s < ERROR_BYTES_MAX then
    local from = {}
    local i, c = solid(s, 1)
    if c == 123 and survey(s, i, WANT_COHERE_ERROR, from, {}, false) and from.message and byte(s, from.message) == 34 then
      known.stream_error = "error"
    end
  end
end

local function meter_whole(h, dialect, length)
  local s, cut = whole_answer(h, length)
  if not s or s == "" then return end
  local last = #s
  local c = byte(s, last)
  while c == 10 or c == 32 or c == 13 or c == 9 do
    last = last - 1
    c = byte(s, last)
  end
  local known = whole_known
  clear(known)
  if dialect == "gemini-generate-content" then
    known.complete = cut and (c == 125 or c == 93)
    read_gemini_whole(s, known, cut)
    return publish(h, known)
  end
  known.complete = c == 125
  local usage = top_value(s, "usage", '"usage"', cut)
  if usage and byte(s, usage) == 123 then
    clear(whole_usage)
    known.usage = whole_usage
    if not add_usage(known, dialect, s, usage) then known.usage = nil end
  elseif last < ERROR_BYTES_MAX then -- an error inside a 200 counts no tokens and is short
    local from, till = {}, {}
    if survey(s, (solid(s, 1)), WANT_WHOLE_ERROR, from, till, false) then
      if from.error and byte(s, from.error) ~= 110 then -- null
        known.stream_error = error_type(s, from.error)
      elseif from.message and dialect == "bedrock-converse" then
        known.stream_error = "error"
      end
    end
  end
  if dialect == "anthropic-messages" then
    known.finish = string_value(s, top_value(s, "stop_reason", '"stop_reason"', cut))
  elseif dialect == "bedrock-converse" then
    known.finish = string_value(s, top_value(s, "stopReason", '"stopReason"', cut))
  elseif dialect == "openai-responses" then
    known.finish = not cut and ending_in(s) or nil
  elseif dialect == "cohere-chat" then
    cohere_end(s, cut, known)
  else
    known.finish = finish_in(s)
  end
  publish(h, known)
end

-- ------------------------------------------------------------------------------------------------ streams

local clock = guard.clock

-- First and last byte of the JSON text of the data line that holds position p; nil when that line is no data line.
local function data_line(s, p)
  local a = p
  while a > 1 and byte(s, a - 1) ~= 10 do a = a - 1 end
  if sub(s, a, a + 4) ~= "data:" then return nil end
  local z = find(s, "\n", p, true)
  return (solid(s, a + 5)), (z or #s + 1) - 1
end

local WANT_CHUNK = { usage = true, choices = true, error = true, object = true, type = true }


-- Reads the complete lines of an OpenAI stream into `known`. Jumps to what matters: most chunks hold none of it. Returns
-- whether there was any, and the first byte of the data of a usage-only chunk (`choices` empty).
local function read_openai(s, known)
  local usage_only
  local news = false
  local p = find(s, 'usage"', 1, true)
  while p do
    local i, c = solid(s, p + 6)
    if c == 58 then i, c = solid(s, i + 1) end
    if c == 123 and byte(s, p - 1) == 34 then
      local a = data_line(s, p)
      local from, till = {}, {}
      if a and byte(s, a) == 123 and survey(s, a, WANT_CHUNK, from, till, false) and from.usage == i then
        news = add_usage(known, "openai-chat", s, i) or news
        if from.choices and match(s, "^%[%s*%]", from.choices) then usage_only = a end
      end
    end
    p = find(s, 'usage"', p + 6, true)
  end
  p = find(s, 'finish_reason"', 1, true)
  while p do
    local i, c = solid(s, p + 14)
    if c == 58 then i, c = solid(s, i + 1) end
    if c == 34 and byte(s, p - 1) == 34 then known.finish, news = string_value(s, i) or known.finish, true end
    p = find(s, 'finish_reason"', p + 14, true)
  end
  p = find(s, 'error"', 1, true)
  while p do
    if byte(s, p - 1) == 34 then
      local a, z = data_line(s, p)
      local from, till = {}, {}
      if a and byte(s, a) == 123 and survey(s, a, WANT_CHUNK, from, till, false) then
        if from.error and byte(s, from.error) ~= 110 then
          known.stream_error, news = error_type(s, from.error), true
        elseif string_at(s, from, till, "object") == "error" then
          known.stream_error, news = string_at(s, from, till, "type") or "error", true
        end
        p = z
      end
    end
    p = find(s, 'error"', p + 6, true)
  end
  p = find(s, "[DONE]", 1, true)
  while p do
    local a = data_line(s, p)
    if a == p then known.complete, news = true, true end
    p = find(s, "[DONE]", p + 6, true)
  end
  return news, usage_only
end

local WANT_EVENT = { type = true, message = true, usage = true, delta = true, error = true }
local WANT_MESSAGE = { usage = true }
local WANT_DELTA = { stop_reason = true }

-- Reads the event whose data begins at s[a] into `known`; returns whether it said anything.
local function read_anthropic_event(s, a, known)
  local from, till = {}, {}
  if byte(s, a) ~= 123 or not survey(s, a, WANT_EVENT, from, till, false) then return false end
  local kind = string_at(s, from, till, "type")
  local inner_from, inner_till = {}, {}
  if kind == "message_start" then
    local message = from.message
    return message and byte(s, message) == 123 and survey(s, message, WANT_MESSAGE, inner_from, inner_till, false)
      and inner_from.usage and byte(s, inner_from.usage) == 123
      and add_usage(known, "anthropic-messages", s, inner_from.usage) or false
  elseif kind == "message_delta" then
    if from.usage and byte(s, from.usage) == 123 then add_usage(known, "anthropic-messages", s, from.usage) end
    if from.delta and byte(s, from.delta) == 123 and survey(s, from.delta, WANT_DELTA, inner_from, inner_till, false) then
      known.finish = string_at(s, inner_from, inner_till, "stop_reason") or known.finish
    end
    return true
  elseif kind == "message_stop" then
    known.complete = true
    return true
  elseif kind == "error" then
    known.stream_error = from.error and error_type(s, from.error) or "error"
    return true
  end
  return false
end

-- As read_openai, for message_start, message_delta, message_stop and error events of an Anthropic stream.
local function read_anthropic(s, known)
  local news = false
  local p = find(s, "message_", 1, true)
  while p do
    local a, z = data_line(s, p)
    if a then
      news = read_anthropic_event(s, a, known) or news
      p = z
    end
    p = find(s, "message_", p + 1, true)
  end
  p = find(s, 'error"', 1, true)
  while p do
    local a, z = data_line(s, p)
    if a and not find(sub(s, a, z), "message_", 1, true) then
      news = read_anthropic_event(s, a, known) or news
      p = z
    end
    p = find(s, 'error"', p + 1, true)
  end
  return news
end

local WANT_LAST = { type = true, response = true, error = true, code = true }
local WANT_RESPONSE = { usage = true, error = true, status = true, incomplete_details = true }

-- Reads the event with which a response ends, whose data begins at s[a], into `known`; returns whether it is one.
local function read_response_end(s, a, known)
  local from, till = {}, {}
  if byte(s, a) ~= 123 or not survey(s, a, WANT_LAST, from, till, false) then return false end
  local kind = string_at(s, from, till, "type")
  if kind ~= "response.completed" and kind ~= "response.incomplete" and kind ~= "response.failed" then return false end
  local i = from.response
  local inner_from, inner_till = {}, {}
  if i and byte(s, i) == 123 and survey(s, i, WANT_RESPONSE, inner_from, inner_till, false) then
    local usage, why = inner_from.usage, inner_from.incomplete_details
    if usage and byte(s, usage) == 123 then add_usage(known, "openai-responses", s, usage) end
    if kind == "response.failed" then
      local problem = inner_from.error
      known.stream_error = known.stream_error or (problem and error_type(s, problem)) or "error"
      return true
    end
    known.finish = why and byte(s, why) == 123 and string_in(s, '"reason"', why, inner_till.incomplete_details)
      or string_at(s, inner_from, inner_till, "status")
  elseif kind == "response.failed" then
    known.stream_error = known.stream_error or "error"
    return true
  end
  known.complete = true
  return true
end

local function within(s, text, a, z)
  local p = find(s, text, a, true)
  return p and p <= z
end

-- As read_openai, for the last event of a Responses stream and for error events. Only few events have a `response`: the last
-- one, and those at the beginning, which are as long and say nothing yet.
local function read_responses(s, known)
  local news = false
  local p = find(s, '"response"', 1, true)
  while p do
    local a, z = data_line(s, p)
    if a then
      if not within(s, '"response.created"', a, z) and not within(s, '"response.in_progress"', a, z) then
        news = read_response_end(s, a, known) or news
      end
      p = z
    end
    p = find(s, '"response"', p + 1, true)
  end
  p = find(s, '"error"', 1, true)
  while p do
    local i, c = solid(s, p + 7)
    if c ~= 58 or byte(s, (solid(s, i + 1))) ~= 110 then -- every response says "error":null
      local a, z = data_line(s, p)
      local from, till = {}, {}
      if a and byte(s, a) == 123 and survey(s, a, WANT_LAST, from, till, false) and string_at(s, from, till, "type") == "error" then
        local problem = from.error
        known.stream_error = problem and byte(s, problem) == 123 and error_type(s, problem) or string_at(s, from, till, "code") or "error"
        news = true
        p = z
      end
    end
    p = find(s, '"error"', p + 1, true)
  end
  return news
end

-- As read_openai, for the chunks of a Gemini stream. Each says what is known so far.
local function read_gemini(s, known)
  local news = false
  local p = find(s, "data:", 1, true)
  while p do
    local z = find(s, "\n", p, true)
    if p == 1 or byte(s, p - 1) == 10 then news = read_gemini_response(s, (solid(s, p + 5)), known) or news end
    p = z and find(s, "data:", z, true)
  end
  return news
end

local WANT_COHERE = { type = true, delta = true }
local WANT_COHERE_END = { finish_reason = true, usage = true }

-- As read_openai, for the last event of a Cohere stream, which also tells an error.
local function read_cohere(s, known)
  local news = false
  local p = find(s, '"message-end"', 1, true)
  while p do
    local a, z = data_line(s, p)
    local from, till = {}, {}
    if a and byte(s, a) == 123 and survey(s, a, WANT_COHERE, from, till, false) and string_at(s, from, till, "type") == "message-end" then
      local delta = from.delta
      local inner_from, inner_till = {}, {}
      if delta and byte(s, delta) == 123 and survey(s, delta, WANT_COHERE_END, inner_from, inner_till, false) then
        local usage = inner_from.usage
        if usage and byte(s, usage) == 123 then add_usage(known, "cohere-chat", s, usage) end
        known.finish = string_at(s, inner_from, inner_till, "finish_reason") or known.finish
      end
      if COHERE_FAILED[known.finish] then known.stream_error = known.finish else known.complete = true end
      news = true
      p = z
    end
    p = find(s, '"message-end"', p + 1, true)
  end
  return news
end

-- Position after the last end of a line in s (1 when there is none).
local function after_last_line(s)
  local i = #s
  while i > 0 and byte(s, i) ~= 10 do i = i - 1 end
  return i + 1
end

-- Ends a stream whose body ended without its last event: the client is told behind the last chunk. `tail`: the last bytes that came.
local function end_broken(h, known, last, tail, dialect)
  if not last or known.complete or known.stream_error or known.finish then return end
  known.stream_error = guard.CUT
  publish(h, known)
  last:setBytes(last:getBytes(0, last:length()) .. guard.ending(tail, dialect, guard.CUT))
end

-- Ends a stream that has gone silent with `chunk`, of which `before` is left; `chunks` gives the rest of it.
local function end_silent(h, known, chunks, chunk, before, dialect)
  known.stream_error = guard.STALLED
  publish(h, known)
  chunk:setBytes(before .. guard.event(dialect, guard.STALLED))
  return guard.swallow(chunks, chunks())
end

-- Watches a stream that is passed on untouched, but for its end where that is broken. `most`: bytes of an incomplete line that are
-- kept. `on`: nothing says that no more will come. `silence`: milliseconds without content, nil for any.
local function meter_stream(h, read, most, on, dialect, silence)
  local known, carry, skipping = { complete = false }, nil, false
  local heard, doubt, limit = guard.watch(silence)
  local last, tail, blind = nil, "", false -- blind: a line was too long to be read, and may have been the last
  local parts, size = nil, 0 -- of a line that goes on over several chunks, joined when it ends; bytes of the incomplete line
  publish(h, known)
  local chunks = h:bodyChunks()
  for chunk in chunks do
    local n = chunk:length()
    last = chunk
    if n > 0 then
      local s = chunk:getBytes(0, n)
      tail = s
      if heard then
        local now = clock()
        if now - heard > doubt then
          if carry or skipping or guard.content(s, dialect) then
            heard = now
          elseif now - heard > limit then
            return end_silent(h, known, chunks, chunk, s, dialect)
          end
        end
      end
      if skipping then -- the rest of a line that was too long to keep
        local z = find(s, "\n", 1, true)
        skipping = not z
        s = z and sub(s, z + 1) or ""
      elseif carry then
        if find(s, "\n", 1, true) then
          if parts then
            parts[#parts + 1] = s
            s = concat(parts)
          else
            s = carry .. s
          end
          carry, parts = nil, nil
        else
          size = size + n
          if size > most then
            carry, parts, skipping, blind = nil, nil, true, true
          else
            parts = parts or { carry }
            parts[#parts + 1] = s
          end
          s = ""
        end
      end
      n = #s
      if n > 0 and byte(s, n) ~= 10 then
        local cut = after_last_line(s)
        size = n - cut + 1
        if size <= most then carry = sub(s, cut) else skipping, blind = true, true end
        s = sub(s, 1, cut - 1)
      end
      if s ~= "" and read(s, known) then
        publish(h, known)
        if known.complete and not on then return end -- the rest goes past this script
      end
    end
  end
  if carry and read(parts and concat(parts) or carry, known) then publish(h, known) end
  if not blind then end_broken(h, known, last, tail, dialect) end
end

local MEDIA = { image_generation = true, image_edits = true, speech = true, transcriptions = true, translations = true }
local TAIL_BYTES = 4096

-- Watches a stream of pictures or sound. Its last event has the usage, behind what may be megabytes in one line, so only the end is
-- kept. Such streams end with the body, in most vendors' without another mark.
local function meter_media(h)
  local known, tail = { complete = false }, ""
  publish(h, known)
  for chunk in h:bodyChunks() do
    local n = chunk:length()
    if n >= TAIL_BYTES then
      tail = chunk:getBytes(n - TAIL_BYTES, TAIL_BYTES)
    elseif n > 0 then
      tail = sub(tail .. chunk:getBytes(0, n), -TAIL_BYTES)
    end
  end
  local failed, at = match(tail, '"type"%s*:%s*"error".*'), nil
  if failed then
    local _, i = find(failed, '"error"%s*:%s*')
    known.stream_error = i and error_type(failed, i + 1) or "error"
  else
    known.complete = true
    local p = find(tail, '"usage"', 1, true)
    while p do
      local i, c = solid(tail, p + 7)
      if c == 58 then at = solid(tail, i + 1) end
      p = find(tail, '"usage"', p + 7, true)
    end
    if at and byte(tail, at) == 123 then add_usage(known, "openai-chat", tail, at) end
  end
  publish(h, known)
end

-- ------------------------------------------------------------------------------------------------ AWS's event streams

-- What the headers of a frame say that it is; they are the same for all frames of a kind, so they are read once.
local FRAME_KINDS_MAX = 64
local frame_kinds, frame_kinds_count = {}, 0

local function frame_kind(headers)
  local kind = frame_kinds[headers]
  if kind then return kind end
  local exception = find(headers, ":exception-type\7", 1, true)
  if exception then
    local p = exception + 16
    kind = "!" .. sub(headers, p + 2, p + 1 + byte(headers, p) * 256 + (byte(headers, p + 1) or 0))
  elseif find(headers, ":error-code\7", 1, true) then
    kind = "!error"
  elseif find(headers, ":event-type\7\0\11messageStop", 1, true) then
    kind = "stop"
  elseif find(headers, ":event-type\7\0\8metadata", 1, true) then
    kind = "metadata"
  else
    kind = "other"
  end
  if frame_kinds_count == FRAME_KINDS_MAX then frame_kinds, frame_kinds_count = {}, 0 end
  frame_kinds[headers], frame_kinds_count = kind, frame_kinds_count + 1
  return kind
end

local WANT_STOP = { stopReason = true }
local WANT_METADATA = { usage = true }

-- Reads the payload of a frame into `known`; returns whether it says something.
local function read_frame(kind, payload, known)
  local from, till = {}, {}
  if kind == "stop" then
    if survey(payload, 1, WANT_STOP, from, till, false) then known.finish = string_at(payload, from, till, "stopReason") end
  elseif kind == "metadata" then
    if survey(payload, 1, WANT_METADATA, from, till, false) and from.usage and byte(payload, from.usage) == 123 then
      add_usage(known, "bedrock-converse", payload, from.usage)
    end
    known.complete = known.finish ~= nil
  elseif kind ~= "other" then
    known.stream_error = sub(kind, 2)
  else
    return false
  end
  return true
end

local function u32(s, i)
  local a, b, c, d = byte(s, i, i + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Reads the whole frames of s into `known`. Returns how many bytes they are, the length of the frame that follows them (nil: not
-- known yet, 0: there are none to come), and whether there is something new.
local function read_frames(s, known)
  local i, n, news = 1, #s, false
  while n - i >= 11 do
    local size, headers = u32(s, i), u32(s, i + 4)
    if size < 16 + headers then return n, 0, news end -- no frames at all
    if size > n - i + 1 then return i - 1, size, news end
    local kind = frame_kind(sub(s, i + 12, i + 11 + headers))
    if kind ~= "other" then news = read_frame(kind, sub(s, i + 12 + headers, i + size - 5), known) or news end
    i = i + size
  end
  return i - 1, nil, news
end

-- Whether whole frames hold anything of the answer; what is no whole frame is part of one that is long, so it does.
local function frames_content(s)
  local i, n = 1, #s
  while i <= n do
    if n - i < 11 then return true end
    local size, headers = u32(s, i), u32(s, i + 4)
    if size < 16 + headers or size > n - i + 1 then return true end
    if guard.frame_content(sub(s, i + 12, i + 11 + headers), sub(s, i + 12 + headers, i + size - 5)) then return true end
    i = i + size
  end
  return false
end

-- As meter_stream, for frames: bounded by FRAME_BYTES_MAX, and a longer frame is skipped.
local function meter_frames(h, silence)
  local known, carry, skip = { complete = false }, nil, 0
  local heard, doubt, limit = guard.watch(silence)
  local last, blind = nil, false -- blind: as in meter_stream
  local parts, size, need = nil, 0, nil -- of a frame that goes on over several chunks; its bytes so far, and all of them
  publish(h, known)
  local chunks = h:bodyChunks()
  for chunk in chunks do
    local n = chunk:length()
    last = chunk
    if n > 0 then
      local s = chunk:getBytes(0, n)
      if heard then
        local now = clock()
        if now - heard > doubt then
          if carry or skip > 0 or frames_content(s) then
            heard = now
          elseif now - heard > limit then
            return end_silent(h, known, chunks, chunk, s, "bedrock-converse")
          end
        end
      end
      if skip > 0 then
        local rest = skip
        skip = rest > n and rest - n or 0
        s = rest >= n and "" or sub(s, rest + 1)
      elseif carry then
        size = size + n
        parts = parts or { carry }
        parts[#parts + 1] = s
        if need and size < need then
          s = ""
        else
          s, parts, carry = concat(parts), nil, nil
        end
      end
      if s ~= "" then
        local done, following, news = read_frames(s, known)
        if news then
          publish(h, known)
          if known.complete then return end -- the rest goes past this script
        end
        if following == 0 then return end
        if following and following > FRAME_BYTES_MAX then
          skip, blind = following - (#s - done), true
        elseif done < #s then
          carry, size, need = sub(s, done + 1), #s - done, following
        end
      end
    end
  end
  if known.finish and not known.stream_error and not known.complete then -- without its usage, but whole
    known.complete = true
    publish(h, known)
  end
  if not carry and not blind then end_broken(h, known, last, "", "bedrock-converse") end
end

-- Position after the last blank line in s (1 when there is none): what follows is an incomplete event.
local function after_last_event(s)
  local i = #s
  while i > 1 do
    if byte(s, i) == 10 then
      local b = byte(s, i - 1)
      if b == 10 or (b == 13 and byte(s, i - 2) == 10) then return i + 1 end
    end
    i = i - 1
  end
  return 1
end

-- First and last byte of the event whose data begins at a, without comment lines that stand before its fields. s ends
-- with a blank line.
local function event_around(s, a)
  local first = a
  while first > 1 and byte(s, first - 1) ~= 10 do first = first - 1 end
  while first > 1 do -- lines before the data line that belong to the event
    local line = first - 1
    while line > 1 and byte(s, line - 1) ~= 10 do line = line - 1 end
    local c = byte(s, line)
    if c == 10 or c == 13 or c == 58 then break end
    first = line
  end
  local _, last = find(s, "\n\r?\n", a)
  return first, last
end

-- As meter_stream, and takes out the usage-only chunk, which the client did not ask for. An incomplete event is held
-- back as long as it may be that chunk.
local function meter_and_trim(h, silence, translated)
  local known, last, tail, blind = { complete = false }, nil, "", false
  local heard, doubt, limit = guard.watch(silence)
  publish(h, known)
  local carry, held = "", false -- the incomplete event, and whether it is kept from the client
  local chunks = h:bodyChunks()
  for chunk in chunks do
    last = chunk
    local n = chunk:length()
    if n > 0 then
      local before = #carry
      tail = chunk:getBytes(0, n)
      if heard then
        local now = clock()
        if now - heard > doubt then
          if before > 0 or guard.content(tail, "openai-chat") then
            heard = now
          elseif now - heard > limit then
            return end_silent(h, known, chunks, chunk, tail, "openai-chat")
          end
        end
      end
      local sent = held and 0 or before -- the client has so much of s
      local s = carry .. tail
      local cut = after_last_event(s)
      carry = sub(s, cut)
      held = carry ~= "" and cut > sent and #carry < HELD_BYTES_MAX and not find(carry, '"choices":[{', 1, true)
      local stop = held and cut - 1 or #s
      local news, data, first, till
      if cut > 1 then news, data = read_openai(sub(s, 1, cut - 1), known) end
      if news then publish(h, known) end
      if data then first, till = event_around(s, data) end
      if first and first > sent then
        chunk:setBytes(sub(s, sent + 1, first - 1) .. sub(s, till + 1, stop))
      elseif held or sent < before then
        chunk:setBytes(sub(s, sent + 1, stop))
      end
      if known.complete and carry == "" then return end -- the rest goes past this script
      if not held and #carry > CARRY_BYTES_MAX then carry, blind = "", true end
    end
  end
  if carry ~= "" then
    if read_openai(carry, known) then publish(h, known) end
    if held then
      last:setBytes(last:getBytes(0, last:length()) .. carry)
      tail = carry
    end
  end
  if not translated and not blind then end_broken(h, known, last, tail, "openai-chat") end
end

-- ------------------------------------------------------------------------------------------------ unknown models

local second, spent = 0, 0

-- Up to three names that share most of their beginning and end with the one asked for. Linear in the number of names.
local function nearest(names, asked)
  local now = os.time()
  if now ~= second then second, spent = now, 0 end
  spent = spent + 1
  if spent > SUGGESTIONS_PER_SECOND then return {} end
  local best, score = {}, {}
  asked = lower(asked)
  for _, name in ipairs(names) do
    local other = lower(name)
    local short, long = #asked, #other
    if short > long then short, long = long, short end
    local head, tail = 0, 0
    while head < short and byte(asked, head + 1) == byte(other, head + 1) do head = head + 1 end
    while tail < short - head and byte(asked, -tail - 1) == byte(other, -tail - 1) do tail = tail + 1 end
    local near = (head + tail) / long
    if near >= 0.4 then
      local k = #best + 1
      while k > 1 and score[k - 1] < near do k = k - 1 end
      if k <= 3 then
        table.insert(best, k, name)
        table.insert(score, k, near)
        best[4], score[4] = nil, nil
      end
    end
  end
  return best
end

-- How the request was asked ("whole", "stream" or "trim") and for which model, nil when its body was not understood.
local function asked(h)
  local known = h:streamInfo():dynamicMetadata():get(SPACE)
  return match(known and known.asked or "", "^%S+ (%S+) (.*)$")
end

-- Turns the answer of the default route into one that names the nearest models.
local function answer_unknown(h, headers, dialect)
  local _, model = asked(h)
  if not model then return end
  local names = h:metadata():get("models")
  names = type(names) == "table" and names or {}
  local text, offers = nil, {}
  for _, name in ipairs(names) do
    if name == model then text = "The model '" .. quoted(model) .. "' does not serve this operation" end
  end
  if not text then
    text = "The model '" .. quoted(model) .. "' does not exist"
    for k, name in ipairs(nearest(names, model)) do offers[k] = "'" .. quoted(name) .. "'" end
  end
  if #offers > 0 then
    text = text .. "; did you mean " .. concat(offers, " or ") .. "?"
  else
    text = text .. "; GET /v1/models lists what there is."
  end
  headers:replace("content-type", "application/json")
  h:body(true):setBytes(error_body(dialect, "404", text, "model_not_found", "model"))
end

-- ------------------------------------------------------------------------------------------------ response

-- Of a vendor's 401: vendors quote parts of the key, which is the gateway's.
local CREDENTIALS_REFUSED = {
  openai = '{"error":{"message":"the provider refused the gateway\'s credentials","type":"authentication_error",'
    .. '"param":null,"code":"invalid_api_key"}}',
  anthropic = '{"type":"error","error":{"type":"authentication_error",'
    .. '"message":"the provider refused the gateway\'s credentials"}}',
  google = '{"error":{"code":401,"message":"the provider refused the gateway\'s credentials","status":"UNAUTHENTICATED"}}',
  bedrock = '{"__type":"AccessDeniedException","message":"the provider refused the gateway\'s credentials"}',
  cohere = '{"message":"the provider refused the gateway\'s credentials"}',
}
local KEY_STATUS = { ["401"] = true, ["403"] = "bedrock-converse" } -- AWS says 403, with what it made of the signature
local REFUSED_IN = { ["anthropic-messages"] = "anthropic", ["bedrock-converse"] = "bedrock", ["gemini-generate-content"] = "google", ["cohere-chat"] = "cohere" }

-- The address of a batch's results is the vendor's own, and Anthropic's SDKs send the key of their client wherever it leads. A path
-- leads them back here.
local function relink(h, headers)
  local length = tonumber(headers:get("content-length") or "")
  if length and length > RELINKED_BYTES_MAX then return end
  if not find(headers:get("content-type") or "", "application/json", 1, true) then return end
  local body = h:body()
  local text = body and body:getBytes(0, body:length())
  if not text or not find(text, '"results_url"', 1, true) then return end
  body:setBytes((gsub(text, '("results_url"%s*:%s*")https?://[^/"]+[^"]-(/v1/messages/batches/[%w_-]+/results")', "%1%2")))
end

-- Puts an error in the place of an answer that is none, while its headers have not gone.
local function answer_broken(h, headers, dialect, body)
  headers:replace(":status", "503")
  headers:replace("content-type", "application/json")
  headers:remove("content-length")
  local text = guard.document(dialect, guard.CUT)
  local known = whole_known
  clear(known)
  known.complete, known.stream_error = false, guard.CUT
  publish(h, known);
  (body or h:body(true)):setBytes(text)
end

function envoy_on_response(h)
  local facts = facts_of(h)
  if not facts then return end
  local headers = h:headers()
  local dialect = facts.dialect
  if not facts.route then
    if headers:get(":status") == "404" then answer_unknown(h, headers, dialect) end
    return
  end
  if headers:get("x-headgate-lane") then
    headers:remove("x-headgate-lane")
    -- The translator meters. But it was asked for a usage chunk that the client did not ask for.
    if sub(headers:get("content-type") or "", 1, 17) == "text/event-stream" and asked(h) == "trim" then
      return meter_and_trim(h, nil, true)
    end
    return
  end
  local status = headers:get(":status")
  if status ~= "200" then
    local about = KEY_STATUS[status]
    if about == true or (about and about == dialect) then
      headers:replace("content-type", "application/json")
      headers:remove("content-encoding")
      h:body(true):setBytes(CREDENTIALS_REFUSED[REFUSED_IN[dialect] or "openai"])
    end
    return
  end
  if facts.stored then -- usage that was metered when it was made
    if facts.operation == "batches" and dialect == "anthropic-messages" then relink(h, headers) end
    return
  end
  local kind = headers:get("content-type")
  local coding = headers:get("content-encoding")
  if not kind or (coding and coding ~= "identity") then return end
  if sub(kind, 1, 17) == "text/event-stream" then
    if MEDIA[facts.operation] then return meter_media(h) end
    local length, silence = headers:get("content-length"), facts.silence
    if length then
      if length == "0" then return answer_broken(h, headers, dialect) end
      headers:remove("content-length") -- what follows may get shorter, and longer where it is broken
    end
    if dialect == "anthropic-messages" then return meter_stream(h, read_anthropic, CARRY_BYTES_MAX, false, dialect, silence) end
    if dialect == "openai-responses" then return meter_stream(h, read_responses, RESPONSE_BYTES_MAX, false, dialect, silence) end
    if dialect == "gemini-generate-content" then return meter_stream(h, read_gemini, RESPONSE_BYTES_MAX, true, dialect, silence) end
    if dialect == "cohere-chat" then return meter_stream(h, read_cohere, CARRY_BYTES_MAX, false, dialect, silence) end
    if asked(h) ~= "trim" then return meter_stream(h, read_openai, CARRY_BYTES_MAX, false, dialect, silence) end
    return meter_and_trim(h, silence)
  elseif sub(kind, 1, 34) == "application/vnd.amazon.eventstream" then
    headers:remove("content-length")
    return meter_frames(h, facts.silence)
  elseif find(kind, "json", 1, true) then
    local length = headers:get("content-length")
    return meter_whole(h, dialect, length and tonumber(length))
  end
end
