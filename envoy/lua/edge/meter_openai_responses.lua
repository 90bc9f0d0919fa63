-- openai-responses.

do
  local meter = {}

  function meter.usage(total, s, i, z)
    total.input = count(s, '"input_tokens"', i, z) or total.input
    total.output = count(s, '"output_tokens"', i, z) or total.output
    total.cached = count(s, '"cached_tokens"', i, z) or total.cached
    total.cache_write = count(s, '"cache_write_tokens"', i, z) or total.cache_write
    total.reasoning = count(s, '"reasoning_tokens"', i, z) or total.reasoning
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
      if usage and byte(s, usage) == 123 then add_usage(known, meter, s, usage) end
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

  -- Looks for the last event of a Responses stream and for error events. Only few events have a `response`: the last
  -- one, and those at the beginning, which are as long and say nothing yet.
  function meter.stream(s, known)
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

  function meter.whole(s, known, cut)
    if not cut then known.finish = ending_in(s) end
  end
  
  meter.most = RESPONSE_BYTES_MAX
  METERS["openai-responses"] = meter
end
