-- Reads the top level of a JSON text. Sound and cheap because of two facts: inside a JSON string every quote is escaped, so strings are
-- skipped by jumping from quote to quote (LuaJIT compiles plain find to memchr), and only the top level is ever understood: nested values are
-- skipped by counting brackets.

-- Bytes that may stand between the strings of a JSON text: 1 plain, 2 quote, 3 opens, 4 closes; nil: not JSON.
local KIND = {}
for c in ("\t\n\r ,:+-.0123456789"):gmatch(".") do KIND[byte(c)] = 1 end
for c = 65, 90 do KIND[c], KIND[c + 32] = 1, 1 end
KIND[34], KIND[123], KIND[91], KIND[125], KIND[93] = 2, 3, 3, 4, 4
for c = 0, 255 do KIND[c] = KIND[c] or 0 end
local SCALAR = {}
for c = 0, 255 do SCALAR[c] = KIND[c] == 1 and c > 32 and c ~= 44 and c ~= 58 end

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

-- Where the values of the top level that was read last begin, in the order of the body.
local places, place_count = {}, 0

-- Reads the top level of the object that opens at i: first and last byte of the value of each wanted key go into
-- `from` and `till`; in the body, where s is a window. Returns the position after the object and the window, or nil, what is
-- wrong and the key concerned.
-- strict: one spelling, once; `places` are noted. Otherwise the last one counts, as most parsers have it.
local function survey(s, i, want, from, till, strict)
  local c, problem
  if strict then place_count = 0 end
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
    if strict then
      place_count = place_count + 1
      places[place_count] = value
    end
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
