-- Requests whose body is a form (form.lua reads it).

-- The form that the body is, as form.read has it; nil when the request is answered here.
local function read_form(h, facts, headers, body, delimiter, optional)
  local code, why = unfit_coding(headers)
  if code then return refuse(h, facts.dialect, "415", code, why) end
  if not delimiter then return refuse_body(h, facts.dialect, "boundary") end
  if not body or body:length() == 0 then return refuse_body(h, facts.dialect, "empty") end
  local found, problem, key = form.read(body, body:length(), delimiter, optional)
  if not found then return refuse_body(h, facts.dialect, problem, key) end
  return found
end

-- A request whose body is a form.
local function on_form(h, facts, headers, body, delimiter)
  local dialect = facts.dialect
  local found = read_form(h, facts, headers, body, delimiter)
  if not found then return end
  local model, size, a, b = found.model, body:length(), found.first, found.last
  facts = choose(h, headers, dialect, model, size)
  if not facts then return end
  if facts.session then keep_session(h, facts, headers) end
  announce(h, dialect, found.stream == "true" and "stream" or "whole", model)
  if facts.rename and facts.rename ~= model then splice_long(body, size, a, b, facts.rename) end
  note(h, facts, headers, a, b)
  settle(size)
end

-- As move_into_body, for a form.
local function move_into_form(h, facts, headers, body, model, delimiter)
  local found = read_form(h, facts, headers, body, delimiter, true)
  if not found then return false end
  local size = body:length()
  if found.model then
    splice_long(body, size, found.first, found.last, model)
  else
    local field = delimiter .. '\r\nContent-Disposition: form-data; name="model"\r\n\r\n' .. model .. "\r\n"
    splice_long(body, size, 1, 0, field)
  end
  headers:replace(":path", facts.to)
  return true
end
