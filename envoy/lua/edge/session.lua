-- Sessions: requests of one session go to the same target of each group, so that a vendor's prompt cache stays warm.
--
-- Weighted rendezvous hashing: of the targets of a group the one with the lowest score for the session serves it, so only sessions of a
-- target that leaves or shrinks move, and they come back with it. What is chosen is told to Envoy as the number that it would draw
-- by chance otherwise; one number for all attempts, a digit of it for each group (control_plane/xds/translate/sessions.py).

local keep_session
do
  local bit = require("bit")
  local tobit, bxor, rol = bit.tobit, bit.bxor, bit.rol
  local words = ffi.typeof("const uint32_t *")
  local log = math.log

  local SESSION_HEADER = "x-headgate-session"
  local KEYS = { "authorization", "x-api-key", "api-key", "x-goog-api-key" }
  local SEEN_BYTES = 32768 -- looked at of the messages
  local HASHED_BYTES = 2048 -- of either end of a text
  local ID_BYTES_MAX = 256

  -- Where a conversation is named, and where it begins.
  local IDS = { prompt_cache_key = true, conversation = true, metadata = true }
  local BEGINNINGS = { messages = "content", input = "content", contents = "parts" }
  local WANT_ID, WANT_USER, WANT_TURN = { id = true }, { user_id = true }, { role = true, content = true, parts = true }
  local WANT_PIECE = { text = true }

  -- Bob Jenkins' lookup3: additions, rotations and exclusive ors only, which LuaJIT has in 32 bits.
  local function mixed(a, b, c)
    a = bxor(tobit(a - c), rol(c, 4))
    c = tobit(c + b)
    b = bxor(tobit(b - a), rol(a, 6))
    a = tobit(a + c)
    c = bxor(tobit(c - b), rol(b, 8))
    b = tobit(b + a)
    a = bxor(tobit(a - c), rol(c, 16))
    c = tobit(c + b)
    b = bxor(tobit(b - a), rol(a, 19))
    a = tobit(a + c)
    c = bxor(tobit(c - b), rol(b, 4))
    return a, tobit(b + a), c
  end

  local function finished(a, b, c)
    c = tobit(bxor(c, b) - rol(b, 14))
    a = tobit(bxor(a, c) - rol(c, 11))
    b = tobit(bxor(b, a) - rol(a, 25))
    c = tobit(bxor(c, b) - rol(b, 16))
    a = tobit(bxor(a, c) - rol(c, 4))
    b = tobit(bxor(b, a) - rol(a, 14))
    return b, tobit(bxor(c, b) - rol(b, 24))
  end

  local PADDING = ("\0"):rep(12)

  -- The hash so far, b and c, with the bytes of a text in it.
  local function hashed(b, c, text)
    local size = #text
    if size > 2 * HASHED_BYTES then text = sub(text, 1, HASHED_BYTES) .. sub(text, -HASHED_BYTES) end
    local a = tobit(size)
    text = text .. PADDING
    local at = cast(words, text)
    for i = 0, (#text - 12) / 4, 3 do
      a, b, c = mixed(tobit(a + at[i]), tobit(b + at[i + 1]), tobit(c + at[i + 2]))
    end
    return finished(a, b, c)
  end

  -- A string value of an object that is all of s, without its quotes; nil where there is none.
  local piece_from, piece_till = {}, {}
  local function text_in(s, want, name)
    clear(piece_from)
    clear(piece_till)
    survey(s, 1, want, piece_from, piece_till, false)
    local i = piece_from[name]
    return i and byte(s, i) == 34 and piece_till[name] > i + 1 and sub(s, i + 1, piece_till[name] - 1) or nil
  end

  -- Adds what the user said in a turn: a text, or a list of pieces of which some have a text. Without any, all of it counts.
  local function hashed_content(s, b, c)
    if byte(s) ~= 91 then return hashed(b, c, s) end
    local any = false
    local i = solid(s, 2)
    while byte(s, i) == 123 do
      local past = past_nested(s, i)
      if not past then break end
      local text = text_in(sub(s, i, past - 1), WANT_PIECE, "text")
      if text then
        b, c = hashed(b, c, text)
        any = true
      end
      local comma
      i, comma = solid(s, past)
      if comma ~= 44 then break end
      i = solid(s, i + 1)
    end
    if any then return b, c end
    return hashed(b, c, s)
  end

  local turn_from, turn_till = {}, {}

  -- The hash of the first turn of the user in s, which begins with the list of turns, or is what the user said.
  local function hashed_beginning(s, content)
    local c = byte(s)
    if c == 34 then
      local past = past_string(s, 1)
      return hashed(0, 0, sub(s, 1, past and past - 1 or #s))
    elseif c ~= 91 then
      return nil
    end
    local i = solid(s, 2)
    while byte(s, i) == 123 do
      clear(turn_from)
      clear(turn_till)
      local past = survey(s, i, WANT_TURN, turn_from, turn_till, false)
      if not past then return hashed(0, 0, sub(s, i)) end -- longer than what is looked at
      local role, said = turn_from.role, turn_from[content]
      if said and (not role or sub(s, role, turn_till.role) == '"user"') then
        return hashed_content(sub(s, said, turn_till[content]), 0, 0)
      end
      local comma
      i, comma = solid(s, past)
      if comma ~= 44 then return nil end
      i = solid(s, i + 1)
    end
  end

  -- The key whose value is at `place` of the body at p, and the first byte of that value.
  local function key_of(p, place)
    local i = place - 2 -- counted from 0
    while p[i] ~= 58 do i = i - 1 end
    repeat i = i - 1 until p[i] == 34
    local upto = i
    repeat i = i - 1 until p[i] == 34 or upto - i > KEY_BYTES_MAX
    return text_at(p + (i + 1), upto - i - 1)
  end

  -- The hash of the name that the client gives the conversation, as far as this value is one.
  local function hashed_id(name, s)
    local id
    if name == "metadata" then
      id = text_in(s, WANT_USER, "user_id")
      if id and not find(id, "session", 1, true) then id = nil end -- a user, or a whole application: more than a conversation
    elseif byte(s) == 123 then
      id = text_in(s, WANT_ID, "id")
    elseif byte(s) == 34 then
      local past = past_string(s, 1)
      id = past and past > 3 and sub(s, 2, past - 2)
    end
    if id then return hashed(0, 0, id) end
  end

  -- The hash of the conversation that the body read last is a turn of.
  local function hashed_conversation(p, size)
    local beginning, content
    for n = 1, place_count do
      local place = places[n]
      local name = key_of(p, place)
      local seen = IDS[name] and ID_BYTES_MAX * 4 or BEGINNINGS[name] and SEEN_BYTES
      if seen then
        local s = part(p, place, place + seen - 1 < size and place + seen - 1 or size)
        if IDS[name] then
          local b, c = hashed_id(name, s)
          if b then return b, c end
        else
          beginning, content = s, BEGINNINGS[name]
        end
      elseif name == "previous_response_id" then
        content = false -- what follows is no beginning
      end
    end
    if beginning and content then return hashed_beginning(beginning, content) end
  end

  -- The hash of the session, by the first of the route's ways that finds one. p: of a body that was just read, or nil.
  local function hashed_session(plan, headers, p, size)
    for n = 1, #plan.by do
      local way = plan.by[n]
      if way == ":conversation" then
        if p then
          local b, c = hashed_conversation(p, size)
          if b then return b, c end
        end
      elseif way == ":consumer" then
        for k = 1, #KEYS do
          local value = headers:get(KEYS[k])
          if value and value ~= "" then return hashed(0, 0, value) end
        end
      else
        local value = headers:get(way)
        if value and value ~= "" then return hashed(0, 0, value) end
      end
    end
  end

  -- What the route says: its ways, and for each group that has a choice the seeds and weights of its targets.
  local function plan_of(facts)
    local plan = { by = {}, groups = {} }
    for way in gmatch(facts.session, "[^,]+") do plan.by[#plan.by + 1] = way end
    for text in gmatch(facts.among, "[^;]+") do
      local group = { seeds = {}, weights = {}, total = 0 }
      for seed, weight in gmatch(text, "(%x+):(%d+)") do
        group.seeds[#group.seeds + 1] = tobit(tonumber(seed, 16))
        group.weights[#group.weights + 1] = tonumber(weight)
        group.total = group.total + tonumber(weight)
      end
      plan.groups[#plan.groups + 1] = group
    end
    return plan
  end

  local taken = {} -- the seeds of the targets that were chosen, by group
  local AGAIN = 1e9 -- more than any score: a target of an earlier group, where there is another, would be asked again

  local function was_taken(seed, groups)
    for n = 1, groups do
      if taken[n] == seed then return true end
    end
    return false
  end

  -- Binds the request to the targets of its session, if it has one. The route was chosen by `facts`; it is chosen anew with the number.
  function keep_session(h, facts, headers, p, size)
    local plan = facts.plan
    if not plan then
      plan = plan_of(facts)
      facts.plan = plan
    end
    local b, c = hashed_session(plan, headers, p, size)
    if not b then return end
    local number, unit = 0, 1
    for n = 1, #plan.groups do
      local group = plan.groups[n]
      local lowest, chosen, before = 1 / 0, 0, 0
      for k = 1, #group.seeds do
        local _, drawn = finished(b, c, group.seeds[k])
        local score = -log((drawn % 4294967296 + 0.5) / 4294967296) / group.weights[k]
        if n > 1 and was_taken(group.seeds[k], n - 1) then score = score + AGAIN end
        if score < lowest then lowest, chosen, taken[n] = score, before, group.seeds[k] end
        before = before + group.weights[k]
      end
      number = number + chosen * unit
      unit = unit * group.total
    end
    headers:replace(SESSION_HEADER, format("%.0f", number))
    h:clearRouteCache()
  end
end
