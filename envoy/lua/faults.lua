-- What an error means, on the passthrough lane: says it in `x-headgate-fault`, by which routes retry and which the journal logs. The answer
-- itself stays as it is. Only answers with status 400 and more ever get here: a matcher in front of this filter sees to that, and successes
-- never enter Lua. One VM for all targets (shared_vm_id); the filter context holds what is the target's own: `dialect` and `rules`, those of
-- the vendor's preset. BUILT_IN, the rules of the dialects and of all, is put before this file (control_plane/dialects/fault_table.py).

local byte, find, gmatch, lower, match, sub, tonumber = string.byte, string.find, string.gmatch, string.lower, string.match, string.sub, tonumber
local char, concat, gsub, type, tostring = string.char, table.concat, string.gsub, type, tostring

local BODY_BYTES_MAX = 262144 -- of an error: one that says to be longer is not read
local WORDS_BYTES_MAX = 8000 -- of its text
local DEPTH_MAX = 32
local RULES_KEPT_MAX = 1000

-- Fields of a line of rules: kind, dialect, status, code, type, words, body; alternatives stand between bytes 31.
local function alternatives(text)
  if text == "" then return nil end
  local found = {}
  for one in gmatch(text, "[^\31]+") do found[#found + 1] = one end
  return found
end

local function spans(text)
  if text == "" then return nil end
  local found = {}
  for first, last in gmatch(text, "(%d+)%-?(%d*)") do
    found[#found + 1] = { tonumber(first), tonumber(last) or tonumber(first) }
  end
  return found
end

local function rules_in(text, into)
  for kind, dialect, status, code, kind_of, words, body in gmatch(text, "([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\n") do
    local rule = {
      kind = kind, status = spans(status), code = alternatives(code), type = alternatives(kind_of),
      words = alternatives(words), body = alternatives(body),
    }
    local list = into[dialect] or {}
    into[dialect] = list
    list[#list + 1] = rule
  end
  return into
end

local built_in = rules_in(BUILT_IN, {})
local own, own_count = {}, 0 -- of presets, by their text

local function own_rules(text)
  if not text or text == "" then return nil end
  local rules = own[text]
  if not rules then
    if own_count == RULES_KEPT_MAX then own, own_count = {}, 0 end
    rules = rules_in(text, {})[""]
    own[text], own_count = rules, own_count + 1
  end
  return rules
end

-- Whether the parts of the pattern between its stars follow each other.
local function holds(words, pattern)
  local at = 1
  for part in gmatch(pattern, "[^*]+") do
    local a, z = find(words, part, at, true)
    if not a then return false end
    at = z + 1
  end
  return true
end

local function any(list, fits)
  for i = 1, #list do
    if fits(list[i]) then return true end
  end
  return false
end

-- The class by the first rule of the list that fits.
local function by(rules, status, codes, words, body)
  if not rules then return nil end
  for i = 1, #rules do
    local rule = rules[i]
    if (not rule.status or any(rule.status, function(span) return status >= span[1] and status <= span[2] end))
      and (not rule.code or any(rule.code, function(code) return codes[code] end))
      and (not rule.type or any(rule.type, function(code) return codes[code] end))
      and (not rule.words or any(rule.words, function(pattern) return holds(words, pattern) end))
      and (not rule.body or any(rule.body, function(part) return find(body, part, 1, true) end))
    then
      return rule.kind
    end
  end
  return nil
end

-- A JSON value: objects and arrays as tables, strings unescaped as far as rules need it, all else as text or nil. Returns the value and
-- the position after it; position nil when it is no JSON.
local ESCAPES = { b = " ", f = " ", n = "\n", r = "\r", t = "\t" }
local function unescaped(text)
  if not find(text, "\\", 1, true) then return text end
  text = gsub(text, "\\u(%x%x%x%x)", function(hex)
    local c = tonumber(hex, 16)
    return c < 128 and char(c) or c == 8217 and "\226\128\153" or "?"
  end)
  return (gsub(text, "\\(.)", function(c) return ESCAPES[c] or c end))
end

local function value(s, i, depth)
  i = find(s, "[^ \t\r\n]", i)
  if not i or depth > DEPTH_MAX then return nil, nil end
  local c = byte(s, i)
  if c == 34 then
    local z, before = i, nil
    repeat
      z = find(s, '"', z + 1, true)
      if not z then return nil, nil end
      before = z - 1
      while byte(s, before) == 92 do before = before - 1 end
    until (z - before) % 2 == 1
    return unescaped(sub(s, i + 1, z - 1)), z + 1
  elseif c == 123 or c == 91 then
    local found, close, n = {}, c + 2, 0
    i = i + 1
    while true do
      i = find(s, "[^ \t\r\n,]", i)
      if not i then return nil, nil end
      if byte(s, i) == close then return found, i + 1 end
      local key
      if c == 123 then
        key, i = value(s, i, depth + 1)
        i = i and match(s, "^[ \t\r\n]*:()", i)
        if not i or type(key) ~= "string" then return nil, nil end
      else
        n = n + 1
        key = n
      end
      found[key], i = value(s, i, depth + 1)
      if not i then return nil, nil end
    end
  end
  local word, z = match(s, "^([%w.+-]+)()", i)
  if not word then return nil, nil end
  return tonumber(word), z
end

local function text_of(v)
  if type(v) == "string" and v ~= "" then return v end
  return type(v) == "number" and tostring(v) or nil
end

-- The object that describes the error, and its text where it stands beside that; as error_document and message_of in dialects/failures.py.
local function described(body)
  local document, z = value(body, 1, 0)
  if not z then return {}, sub(body, 1, 1) == "<" and "" or body end
  if type(document) == "string" then return {}, document end
  if type(document) ~= "table" then return {}, "" end
  if document[1] ~= nil then document = document[1] end
  if type(document) ~= "table" then return {}, text_of(document) or "" end
  local inner, text = document.error, ""
  if type(inner) == "table" then document = inner elseif type(inner) == "string" then text = inner end
  for _, key in ipairs({ "message", "detail", "error_description", "msg", "Message" }) do
    local v = document[key]
    if type(v) == "string" and v ~= "" then return document, v end
    if type(v) == "table" and type(v[1]) == "table" and type(v[1].msg) == "string" then return document, v[1].msg end
  end
  return document, text
end

local CODES = { "code", "type", "status", "error_type", "__type" }

local function class_of(status, aws, body, dialect, rules)
  local document, message = described(body)
  local codes, said = {}, {}
  for _, key in ipairs(CODES) do
    local code = text_of(document[key])
    if code then codes[code], said[#said + 1] = true, code end
  end
  local word = aws or document.__type
  if type(word) == "string" then -- `com.amazon.coral.service#ThrottlingException`, `ThrottlingException:http://...`
    word = match(match(word, "^[^:]*"), "[^#]*$")
    codes[word], said[#said + 1] = true, word
  end
  said[#said + 1] = sub(message, 1, WORDS_BYTES_MAX)
  local words = lower(concat(said, " "))
  return by(own_rules(rules), status, codes, words, body) or by(built_in[dialect], status, codes, words, body)
    or by(built_in["*"], status, codes, words, body) or "unreadable"
end

function envoy_on_response(h)
  local headers = h:headers()
  local context = h:filterContext()
  local dialect, rules = context:get("dialect"), context:get("rules")
  local status = tonumber(headers:get(":status"))
  local coding, length = headers:get("content-encoding"), tonumber(headers:get("content-length") or "0")
  local aws, asked = headers:get("x-amzn-errortype"), headers:get("retry-after") or headers:get("retry-after-ms")
  local text = ""
  -- Of a 5xx the status says it all, unless the vendor has rules of its own.
  if (status < 500 or rules) and (not coding or coding == "identity") and (length or 0) <= BODY_BYTES_MAX then
    local body = h:body()
    local size = body and body:length() or 0
    if size > 0 then text = body:getBytes(0, size < BODY_BYTES_MAX and size or BODY_BYTES_MAX) end
    headers = h:headers() -- handles do not outlive the wait for the body
  end
  local class = class_of(status, aws, text, dialect, rules)
  headers:replace("x-headgate-fault", class)
  if class == "rate_limited" and not asked then -- Google says it in the body
    local delay = match(text, '"retryDelay"%s*:%s*"(%d+)[%d.]*s"')
    if delay then headers:replace("retry-after", tostring(tonumber(delay) + 1)) end
  end
end
