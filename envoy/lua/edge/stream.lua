-- Streams of events that pass on untouched, but for an end that is broken.

-- First and last byte of the JSON text of the data line that holds position p; nil when that line is no data line.
local function data_line(s, p)
  local a = p
  while a > 1 and byte(s, a - 1) ~= 10 do a = a - 1 end
  if sub(s, a, a + 4) ~= "data:" then return nil end
  local z = find(s, "\n", p, true)
  return (solid(s, a + 5)), (z or #s + 1) - 1
end

-- Position after the last end of a line in s (1 when there is none).
local function after_last_line(s)
  local i = #s
  while i > 0 and byte(s, i) ~= 10 do i = i - 1 end
  return i + 1
end

-- Watches a stream that is passed on untouched. `silence`: milliseconds without content after which it is over, nil for none.
local function meter_stream(h, meter, dialect, silence)
  local read, most, on = meter.stream, meter.most, meter.on
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
