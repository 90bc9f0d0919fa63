-- Measures a request for routes whose targets cannot all take what others can: how much of a context window it takes, what it costs, what
-- it needs. Its headers choose a variant of the plan (control_plane/ir/variants.py); other routes never get here.
--
-- Nothing is parsed: inside a JSON string every quote is escaped, so `"name"` with plain quotes is a key or a whole string.

local choose_measured
do
  local BYTES_PER_TOKEN, COST_BYTES_PER_TOKEN, ROOM = 4, 3, 4096 -- as in control_plane/ir/abilities.py
  local MEDIA_TOKENS = 1600 -- of a picture, whatever its bytes
  local MEDIA_BYTES_MIN = 1024 -- shorter strings count as text
  local OUTPUT_TOKENS = 1024 -- where the client asks for no length
  local OUTPUT_TOKENS_MAX = 10000000

  ffi.cdef("void *memmem(const void *, size_t, const void *, size_t); void *memchr(const void *, int, size_t);")
  local C = ffi.C

  -- Offset behind the next `word` at or after `at`; nil when there is none.
  local function behind(p, size, at, word)
    if at >= size then return nil end
    local found = C.memmem(p + at, size - at, word, #word)
    if found == nil then return nil end
    return tonumber(cast(octets, found) - p) + #word
  end

  -- Offset and byte of what is not blank.
  local function next_solid(p, size, at)
    while at < size and (p[at] == 32 or p[at] == 9 or p[at] == 10 or p[at] == 13) do at = at + 1 end
    return at, at < size and p[at] or 0
  end

  -- The same behind a colon; nil where there is none, as `word` is no key there.
  local function value_of(p, size, at)
    local colon, c = next_solid(p, size, at)
    if c ~= 58 then return nil end
    return next_solid(p, size, colon + 1)
  end

  local LENGTHS = { max_tokens = true, max_completion_tokens = true, max_output_tokens = true, maxTokens = true, maxOutputTokens = true }

  -- Tokens of output that the client asks for at most: the largest number under any vendor's name for it; nil where there is none.
  local function asked_length(p, size)
    local most
    local at = behind(p, size, 0, '"max')
    while at do
      local last = at
      while last < size and last < at + 24 and p[last] ~= 34 do last = last + 1 end
      if last < size and LENGTHS["max" .. text_at(p + at, last - at)] then
        local from = value_of(p, size, last + 1)
        local n = 0
        while from and from < size and p[from] > 47 and p[from] < 58 and n < OUTPUT_TOKENS_MAX do
          n = n * 10 + p[from] - 48
          from = from + 1
        end
        if n > 0 and (not most or n > most) then most = n end
      end
      at = behind(p, size, at, '"max')
    end
    return most
  end

  local function is_base64(p, at, n)
    for k = at, at + n - 1 do
      local c = p[k]
      if not ((c > 96 and c < 123) or (c > 64 and c < 91) or (c > 46 and c < 58) or c == 43 or c == 61 or c == 45 or c == 95) then return false end
    end
    return true
  end

  local MEDIA = { ";base64,", '"data"', '"bytes"' }

  -- How many files the body holds, and their bytes.
  local function media_in(p, size)
    local count, bytes = 0, 0
    for _, word in ipairs(MEDIA) do
      local at = behind(p, size, 0, word)
      while at do
        local from = at
        if byte(word) == 34 then
          local value, c = value_of(p, size, at)
          from = c == 34 and value + 1 or nil
        end
        local quote = from and from < size and C.memchr(p + from, 34, size - from)
        if quote and quote ~= nil then
          local n = tonumber(cast(octets, quote) - p) - from
          if n >= MEDIA_BYTES_MIN and is_base64(p, from, 64) and is_base64(p, from + n - 64, 64) then
            count, bytes = count + 1, bytes + n
            at = from + n
          end
        end
        at = behind(p, size, at, word)
      end
    end
    return count, bytes
  end

  local function has_key(p, size, word, opens)
    local at = behind(p, size, 0, word)
    while at do
      local from, c = value_of(p, size, at)
      if c == opens then
        local _, inner = next_solid(p, size, from + 1)
        if inner ~= opens + 2 then return true end -- not empty
      end
      at = behind(p, size, at, word)
    end
    return false
  end

  local function has_image(p, size)
    if behind(p, size, 0, '"input_image"') then return true end
    local at = behind(p, size, 0, '"image')
    while at do
      local c = at < size and p[at] or 0
      if c == 34 or c == 47 or (c == 95 and size - at > 5 and text_at(p + at, 5) == '_url"') then return true end
      at = behind(p, size, at, '"image')
    end
    return false
  end

  local NEEDS = {
    image = has_image,
    tools = function(p, size) return has_key(p, size, '"tools"', 91) or has_key(p, size, '"toolConfig"', 123) end,
    ["structured-output"] = function(p, size)
      return behind(p, size, 0, '"json_schema"') or behind(p, size, 0, '"responseSchema"') or behind(p, size, 0, '"responseJsonSchema"')
    end,
  }

  local function needs_of(wanted, p, size)
    local found
    for need in gmatch(wanted, "[^,]+") do
      if NEEDS[need](p, size) then found = found and found .. "," .. need or need end
    end
    return found
  end

  -- Measures the body at p and chooses the route anew. Returns what that says.
  choose_measured = function(h, headers, facts, p, size)
    local chosen = false
    local weight, long = facts.output_weight, facts.long
    if long and size <= tonumber(long) then long = nil end
    if long or weight then
      local asked = asked_length(p, size)
      local count, bytes = media_in(p, size)
      local text, media = size - bytes, count * MEDIA_TOKENS
      if long then
        local beyond = asked and asked > ROOM and asked - ROOM or 0
        headers:replace("x-headgate-long", format("%d", text / BYTES_PER_TOKEN + media + beyond))
      end
      if weight then
        headers:replace("x-headgate-cost", format("%d", text / COST_BYTES_PER_TOKEN + media + tonumber(weight) * (asked or OUTPUT_TOKENS)))
      end
      chosen = true
    end
    if facts.needs then
      local needs = needs_of(facts.needs, p, size)
      if needs then
        headers:replace("x-headgate-needs", needs)
        chosen = true
      end
    end
    if not chosen then return facts end
    h:clearRouteCache()
    return facts_of(h)
  end
end
