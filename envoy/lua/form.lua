-- Reads the model out of multipart/form-data (RFC 7578). Stands before edge.lua, in one script with it.
--
-- Whoever may use a route is decided by this value, so no server's parser may read another one. Those differ in what they forgive:
-- bare line feeds, text around the parts, blanks behind a boundary, escapes in names, a second field of the same name. All of that is
-- refused. What a file holds is only searched for the boundary, piece by piece, with plain find; wherever that stands it must be a
-- proper delimiter.

local form = {}

do
  local byte, find, sub, match, lower = string.byte, string.find, string.sub, string.match, string.lower

  local FORM_WINDOW_BYTES = 32768 -- of a file that is looked at at a time
  local HEAD_BYTES_MAX = 4096 -- headers of a part
  local PARTS_MAX = 256
  local VALUE_BYTES_MAX = 200 -- of a field that is read
  local WATCHED = { model = true, stream = true }
  local PLAIN_ENCODING = { ["7bit"] = true, ["8bit"] = true, binary = true }

  -- The line that stands between parts, without its line ends; nil when the header announces no form, and false when it does so in a way
  -- that servers may read differently.
  function form.delimiter(kind)
    local rest = kind and match(kind, "^[Mm][Uu][Ll][Tt][Ii][Pp][Aa][Rr][Tt]/[Ff][Oo][Rr][Mm]%-[Dd][Aa][Tt][Aa]%s*(.*)$")
    if not rest then return nil end
    local boundary, charset
    while rest ~= "" do
      local name, value, more = match(rest, '^;%s*([%a]+)="([^"\\,%s]*)"%s*(.*)$')
      if not name then name, value, more = match(rest, "^;%s*([%a]+)=([%w'+_.-]+)%s*(.*)$") end
      name = name and lower(name)
      if name == "boundary" and not boundary and #value > 0 and #value <= 70 and not find(value, "[^%w'()+_./:=?-]") then
        boundary = value
      elseif name == "charset" and not charset and lower(value) == "utf-8" then
        charset = value
      else
        return false
      end
      rest = more
    end
    return boundary and "--" .. boundary or false
  end

  -- What the content-disposition says: the name, and whether it is a file; nil when it is not plain.
  local function disposition(value)
    local rest = match(value, "^[Ff][Oo][Rr][Mm]%-[Dd][Aa][Tt][Aa](.*)$")
    if not rest or find(rest, '\\"', 1, true) then return nil end -- some end the text at such a quote, others do not
    local said = {}
    while rest ~= "" do
      local key, text, more = match(rest, '^%s*;%s*([%a]+%*?)="([^"]*)"(.*)$')
      if not key then key, text, more = match(rest, "^%s*;%s*([%a]+%*?)=([^\"%s;,]+)(.*)$") end
      key = key and lower(key)
      if (key ~= "name" and key ~= "filename" and key ~= "filename*") or said[key] then return nil end
      if find(text, ";%s*[Nn][Aa][Mm][Ee]%*?%s*=") then return nil end -- for those who split at every semicolon
      said[key] = text
      rest = match(more, "^%s*$") and "" or more
    end
    local name = said.name
    if not name or #name > 100 or not find(name, "^[%w_.%-][%w_.%-%[%]]*$") or lower(name) == "_charset_" then return nil end
    return name, (said.filename or said["filename*"]) ~= nil
  end

  -- Reads the headers of a part: its name, whether it is a file, its content type and what it says its length is.
  local function read_head(head)
    if find(head, "[%z\1-\9\11\12\14-\31\127]") or find(head, "[^\r]\n") or find(head, "\r[^\n]") or find(head, "^[\r\n]") or find(head, "\r$") then
      return nil
    end
    local name, file, kind, length, encoding
    for line in string.gmatch(head .. "\r\n", "(.-)\r\n") do
      local key, value = match(line, "^([%w%-]+): *(.-) *$")
      key = key and lower(key)
      if key == "content-disposition" and not name then
        name, file = disposition(value)
        if not name then return nil end
      elseif key == "content-type" and not kind then
        kind = lower(value)
        if find(kind, "^multipart") or find(kind, "^message") then return nil end
      elseif key == "content-transfer-encoding" and not encoding and PLAIN_ENCODING[lower(value)] then
        encoding = value
      elseif key == "content-length" and not length and find(value, "^%d+$") and #value < 12 then
        length = tonumber(value)
      else
        return nil
      end
    end
    return name, file, kind, length
  end

  -- Offset of the next delimiter at or after `from`; nil when there is none.
  local function following(body, size, delimiter, from)
    local kept = #delimiter - 1
    while from < size do
      local n = size - from
      if n > FORM_WINDOW_BYTES then n = FORM_WINDOW_BYTES end
      local p = find(body:getBytes(from, n), delimiter, 1, true)
      if p then return from + p - 1 end
      if from + n == size then return nil end
      from = from + n - kept
    end
  end

  -- Whether a content type is that of a field and not of a file.
  local function is_text(kind)
    return not kind or kind == "text/plain" or find(kind, '^text/plain%s*;%s*charset="?utf%-8"?$') or find(kind, '^text/plain%s*;%s*charset="?us%-ascii"?$')
  end

  -- Takes a part that matters into `found`; returns what is wrong and the name concerned.
  local function take(found, name, file, kind, body, first, last)
    local plain = lower(match(name, "^[^%[]*"))
    if not WATCHED[plain] then return nil end
    if plain ~= name then return "spelling", plain end
    if found[name] then return "duplicate", name end
    if file or not is_text(kind) then return name == "model" and "file" or "form" end
    local size = last - first
    if name == "model" then
      if size == 0 then return "blank" end
      if size > VALUE_BYTES_MAX then return "long" end
    elseif size > VALUE_BYTES_MAX then
      return "form"
    end
    local text = size > 0 and body:getBytes(first, size) or ""
    if name == "model" then
      if find(text, '[%z\1-\31\127"\\]') or find(text, "^ ") or find(text, " $") then return "escaped" end
      found.first, found.last = first + 1, last
    end
    found[name] = text
  end

  -- What the form says: {model, first, last, stream}, with the first and last byte of the model in the body; nil, what is wrong, and the
  -- name concerned. optional: it may name none.
  function form.read(body, size, delimiter, optional)
    local d = #delimiter
    local found, parts = {}, 0
    if size < d + 2 or body:getBytes(0, d) ~= delimiter then return nil, "form" end
    local at = d -- offset behind the delimiter
    while true do
      if at + 2 > size then return nil, "form" end
      local ending = body:getBytes(at, 2)
      at = at + 2
      if ending == "--" then
        if at ~= size and (at + 2 ~= size or body:getBytes(at, 2) ~= "\r\n") then return nil, "form" end
        if not found.model and not optional then return nil, "missing" end
        return found
      end
      parts = parts + 1
      if ending ~= "\r\n" or parts > PARTS_MAX then return nil, "form" end
      local n = size - at
      local head = body:getBytes(at, n < HEAD_BYTES_MAX and n or HEAD_BYTES_MAX)
      local gap = find(head, "\r\n\r\n", 1, true)
      local near = find(head, delimiter, 1, true)
      if not gap or (near and near < gap) then return nil, "form" end
      local name, file, kind, length = read_head(sub(head, 1, gap - 1))
      if not name then return nil, "form" end
      local first = at + gap + 3
      local stop = near and at + near - 1 or following(body, size, delimiter, first)
      local last = stop and stop - 2
      if not last or last < first or body:getBytes(last, 2) ~= "\r\n" or (length and length ~= last - first) then return nil, "form" end
      local problem, concerned = take(found, name, file, kind, body, first, last)
      if problem then return nil, problem, concerned end
      at = stop + d
    end
  end
end

