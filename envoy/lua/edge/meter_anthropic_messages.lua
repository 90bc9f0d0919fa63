-- anthropic-messages.

do
  local WANT_USAGE = {
    input_tokens = true, output_tokens = true, cache_read_input_tokens = true, cache_creation_input_tokens = true,
  }

  local meter = {}

  function meter.usage(total, s, i, z)
    local fresh, read, written, output
    local thinking = count(s, '"thinking_tokens"', i, z)
    local list = find(s, "[", i, true)
    if list and list < z then -- `iterations` repeats the names
      local from, till = {}, {}
      survey(s, i, WANT_USAGE, from, till, false)
      fresh, output = exact(s, from, till, "input_tokens"), exact(s, from, till, "output_tokens")
      read = exact(s, from, till, "cache_read_input_tokens")
      written = exact(s, from, till, "cache_creation_input_tokens")
    else
      fresh, output = count(s, '"input_tokens"', i, z), count(s, '"output_tokens"', i, z)
      read, written = count(s, '"cache_read_input_tokens"', i, z), count(s, '"cache_creation_input_tokens"', i, z)
    end
    -- message_start counts the input, message_delta the output so far (and repeats the input, or sends 0, or nothing)
    local was = total.input and total.input - (total.cached or 0) - (total.cache_write or 0)
    if not was or (fresh and fresh > 0) then was = fresh or was end
    if read and (read > 0 or not total.cached) then total.cached = read end
    if written and (written > 0 or not total.cache_write) then total.cache_write = written end
    if output and (output > 0 or not total.output) then total.output = output end
    if thinking and (thinking > 0 or not total.reasoning) then total.reasoning = thinking end
    if was then total.input = was + (total.cached or 0) + (total.cache_write or 0) end
  end

  local WANT_EVENT = { type = true, message = true, usage = true, delta = true, error = true }
  local WANT_MESSAGE = { usage = true }
  local WANT_DELTA = { stop_reason = true }

  -- Reads the event whose data begins at s[a] into `known`; returns whether it said anything.
  local function read_anthropic_event(s, a, known)
    local from, till = {}, {}
    if byte(s, a) ~= 123 or not survey(s, a, WANT_EVENT, from, till, false) then return false end
    local kind = string_at(s, from, till, "type")
    local inner_from, inner_till = {}, {}
    if kind == "message_start" then
      local message = from.message
      return message and byte(s, message) == 123 and survey(s, message, WANT_MESSAGE, inner_from, inner_till, false)
        and inner_from.usage and byte(s, inner_from.usage) == 123
        and add_usage(known, meter, s, inner_from.usage) or false
    elseif kind == "message_delta" then
      if from.usage and byte(s, from.usage) == 123 then add_usage(known, meter, s, from.usage) end
      if from.delta and byte(s, from.delta) == 123 and survey(s, from.delta, WANT_DELTA, inner_from, inner_till, false) then
        known.finish = string_at(s, inner_from, inner_till, "stop_reason") or known.finish
      end
      return true
    elseif kind == "message_stop" then
      known.complete = true
      return true
    elseif kind == "error" then
      known.stream_error = from.error and error_type(s, from.error) or "error"
      return true
    end
    return false
  end

  -- Looks for message_start, message_delta, message_stop and error events of an Anthropic stream.
  function meter.stream(s, known)
    local news = false
    local p = find(s, "message_", 1, true)
    while p do
      local a, z = data_line(s, p)
      if a then
        news = read_anthropic_event(s, a, known) or news
        p = z
      end
      p = find(s, "message_", p + 1, true)
    end
    p = find(s, 'error"', 1, true)
    while p do
      local a, z = data_line(s, p)
      if a and not find(sub(s, a, z), "message_", 1, true) then
        news = read_anthropic_event(s, a, known) or news
        p = z
      end
      p = find(s, 'error"', p + 1, true)
    end
    return news
  end

  function meter.whole(s, known, cut)
    known.finish = string_value(s, top_value(s, "stop_reason", '"stop_reason"', cut))
  end
  
  meter.most = CARRY_BYTES_MAX
  METERS["anthropic-messages"] = meter
end
