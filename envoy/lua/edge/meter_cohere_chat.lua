-- cohere-chat.

do
  local meter = {}

  local WANT_COHERE_USAGE = { tokens = true, billed_units = true }
  local WANT_COHERE_ERROR = { message = true }
  local COHERE_FAILED = { ERROR = true, TIMEOUT = true } -- finish reasons
  local WANT_COHERE = { type = true, delta = true }
  local WANT_COHERE_END = { finish_reason = true, usage = true }

  -- Cohere counts what was used in `tokens`, images beside it, and what is billed in `billed_units`: so images are inside the input where
  -- more is billed than that.
  function meter.usage(total, s, i, z)
    local read, output, reasoning, images
    local from, till = {}, {}
    survey(s, i, WANT_COHERE_USAGE, from, till, false)
    local at = from.tokens
    if at and byte(s, at) == 123 then
      local last = till.tokens
      read, output = count(s, '"input_tokens"', at, last), count(s, '"output_tokens"', at, last)
      reasoning, images = count(s, '"reasoning_tokens"', at, last), count(s, '"image_tokens"', at, last)
    end
    at = from.billed_units
    if at and byte(s, at) == 123 then
      local paid = count(s, '"input_tokens"', at, till.billed_units)
      if read and paid and paid > read then read = read + (images or 0) end
      read = read or paid
      output = output or count(s, '"output_tokens"', at, till.billed_units)
    end
    total.input, total.output = read or total.input, output or total.output
    total.reasoning = reasoning or total.reasoning
    total.cached = count(s, '"cached_tokens"', i, z) or total.cached
  end

  -- What a whole Cohere answer says of its end; one that has a text for its message is an error. Embeddings and reranked documents
  -- say in `meta` what is billed.
  function meter.whole(s, known, cut)
    local meta = not known.usage and top_value(s, "meta", '"meta"', cut)
    local last = meta and byte(s, meta) == 123 and past_nested(s, meta)
    local read = last and count(s, '"input_tokens"', meta, last)
    if read then
      clear(whole_usage)
      known.usage, whole_usage.input = whole_usage, read
    end
    local finish = string_value(s, top_value(s, "finish_reason", '"finish_reason"', cut))
    known.finish = finish
    if COHERE_FAILED[finish] then
      known.stream_error = finish
    elseif not finish and #s < ERROR_BYTES_MAX then
      local from = {}
      local i, c = solid(s, 1)
      if c == 123 and survey(s, i, WANT_COHERE_ERROR, from, {}, false) and from.message and byte(s, from.message) == 34 then
        known.stream_error = "error"
      end
    end
  end

  -- Looks for the last event, which also tells an error.
  function meter.stream(s, known)
    local news = false
    local p = find(s, '"message-end"', 1, true)
    while p do
      local a, z = data_line(s, p)
      local from, till = {}, {}
      if a and byte(s, a) == 123 and survey(s, a, WANT_COHERE, from, till, false) and string_at(s, from, till, "type") == "message-end" then
        local delta = from.delta
        local inner_from, inner_till = {}, {}
        if delta and byte(s, delta) == 123 and survey(s, delta, WANT_COHERE_END, inner_from, inner_till, false) then
          local usage = inner_from.usage
          if usage and byte(s, usage) == 123 then add_usage(known, meter, s, usage) end
          known.finish = string_at(s, inner_from, inner_till, "finish_reason") or known.finish
        end
        if COHERE_FAILED[known.finish] then known.stream_error = known.finish else known.complete = true end
        news = true
        p = z
      end
      p = find(s, '"message-end"', p + 1, true)
    end
    return news
  end

  meter.most = CARRY_BYTES_MAX
  METERS["cohere-chat"] = meter
end
