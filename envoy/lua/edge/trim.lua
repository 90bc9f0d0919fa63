-- Streams of openai-chat whose usage the edge asked for in the client's place.

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

local read_text = METERS["openai-chat"].stream

-- As meter_stream, and takes out the usage-only chunk, which the client did not ask for. An incomplete event is held
-- back as long as it may be that chunk.
-- `silence` as in meter_stream; `translated`: the translator sees to the end.
local function meter_and_trim(h, silence, translated)
  local known, last, tail, blind = { complete = false }, nil, "", false -- blind: as in meter_stream
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
      if cut > 1 then news, data = read_text(sub(s, 1, cut - 1), known) end
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
    if read_text(carry, known) then publish(h, known) end
    if held then
      last:setBytes(last:getBytes(0, last:length()) .. carry)
      tail = carry
    end
  end
  if not translated and not blind then end_broken(h, known, last, tail, "openai-chat") end
end
