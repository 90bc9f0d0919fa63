-- gemini-generate-content.

do
  local meter = {}

  function meter.usage(total, s, i, z)
    local prompt, tools = count(s, '"promptTokenCount"', i, z), count(s, '"toolUsePromptTokenCount"', i, z)
    local visible, thoughts = count(s, '"candidatesTokenCount"', i, z), count(s, '"thoughtsTokenCount"', i, z)
    if prompt or tools then total.input = (prompt or 0) + (tools or 0) end
    if visible or thoughts then total.output = (visible or 0) + (thoughts or 0) end
    total.cached = count(s, '"cachedContentTokenCount"', i, z) or total.cached
    total.reasoning = thoughts or total.reasoning
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
    if i and byte(s, i) == 123 then add_usage(known, meter, s, i) end
    i = from.error
    if i and byte(s, i) ~= 110 then known.stream_error, known.complete = error_type(s, i), false end
    return known.usage or known.finish or known.stream_error
  end

  -- Reads a whole answer, or the array that a stream without events is; of a long one maybe only the end is at hand.
  function meter.all(s, known, cut, ending)
    local last = #s
    known.complete = cut and (ending == 125 or ending == 93)
    local i, c = solid(s, 1)
    if cut then -- the counts stand behind the candidates
      local usage, p = nil, find(s, '"usageMetadata"', 1, true)
      while p do
        usage, p = p, find(s, '"usageMetadata"', p + 15, true)
      end
      i, c = solid(s, (usage or last) + 15)
      i = c == 58 and solid(s, i + 1)
      if i and byte(s, i) == 123 then add_usage(known, meter, s, i) end
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

  -- Each chunk says what is known so far.
  function meter.stream(s, known)
    local news = false
    local p = find(s, "data:", 1, true)
    while p do
      local z = find(s, "\n", p, true)
      if p == 1 or byte(s, p - 1) == 10 then news = read_gemini_response(s, (solid(s, p + 5)), known) or news end
      p = z and find(s, "data:", z, true)
    end
    return news
  end

  meter.most, meter.on = RESPONSE_BYTES_MAX, true
  METERS["gemini-generate-content"] = meter
end
