-- bedrock-converse, and AWS's event streams.

do
  local meter = { message_is_error = true }

  local WANT_TOKENS = {
    inputTokens = true, outputTokens = true, totalTokens = true, cacheReadInputTokens = true, cacheWriteInputTokens = true,
  }

  -- What the headers of a frame say that it is; they are the same for all frames of a kind, so they are read once.
  local FRAME_KINDS_MAX = 64
  local frame_kinds, frame_kinds_count = {}, 0

  local WANT_STOP = { stopReason = true }
  local WANT_METADATA = { usage = true }

  -- Bedrock counts the cache beside the input, or for some models inside: its total tells.
  function meter.usage(total, s, i)
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

  -- Reads the payload of a frame into `known`; returns whether it says something.
  local function read_frame(kind, payload, known)
    local from, till = {}, {}
    if kind == "stop" then
      if survey(payload, 1, WANT_STOP, from, till, false) then known.finish = string_at(payload, from, till, "stopReason") end
    elseif kind == "metadata" then
      if survey(payload, 1, WANT_METADATA, from, till, false) and from.usage and byte(payload, from.usage) == 123 then
        add_usage(known, meter, payload, from.usage)
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
  local function content(s)
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
  function meter.frames(h, silence)
    local known, carry, skip = { complete = false }, nil, 0
    local heard, doubt, limit = guard.watch(silence)
    local last, blind = nil, false -- blind: a frame was too long to be read, and may have been the last
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
            if carry or skip > 0 or content(s) then
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

  function meter.whole(s, known, cut)
    known.finish = string_value(s, top_value(s, "stopReason", '"stopReason"', cut))
  end
  
  METERS["bedrock-converse"] = meter
end
