-- What the edge says of a request that it does not let pass.

local function refuse(h, dialect, status, code, message, param)
  h:respond({ [":status"] = status, ["content-type"] = "application/json" }, error_body(dialect, status, message, code, param))
end

local MESSAGES = {
  empty = { "missing_body", "The request has no body; send a JSON object with a 'model'." },
  json = { "invalid_json", "The body is not a valid JSON object; send one UTF-8 JSON object and nothing after it." },
  bom = { "invalid_json", "The body begins with a byte order mark; send plain UTF-8 without one." },
  depth = { "too_deep", "The body is nested more than " .. DEPTH_MAX .. " levels deep; flatten it." },
  missing = { "missing_model", "The body has no 'model' at its top level; name the model to use.", "model" },
  kind = { "invalid_model", "'model' must be a string that names a model.", "model" },
  blank = { "invalid_model", "'model' is empty; name the model to use.", "model" },
  long = { "invalid_model", "'model' is longer than " .. MODEL_BYTES_MAX .. " bytes.", "model" },
  named_twice = { "ambiguous_model", "The body names another model than the path; name it in the path only.", "model" },
  address = { "invalid_model", "The model in the path is not percent-encoded UTF-8 of 1 to " .. MODEL_BYTES_MAX .. " printable bytes.", "model" },
  unnamed = { "missing_model", "This call names no model; add '?model=' and the model whose provider keeps it, once and percent-encoded.", "model" },
  query = { "invalid_query", "The query is badly encoded or names a parameter more than once; send each one once, percent-encoded." },
  form = { "invalid_form", "The body is not plain multipart/form-data: parts between one boundary, CRLF line ends, one content-disposition for "
    .. "each part, nothing before or behind them." },
  boundary = { "invalid_form", "Name one boundary in the content-type, of 1 to 70 letters, digits and '()+_-./:=?, and no charset but UTF-8." },
  file = { "invalid_model", "'model' must be a text field of the form, not a file.", "model" },
  escaped = { "invalid_model", "'model' holds escapes or control characters; write the name as plain text.", "model" },
}

local function refuse_body(h, dialect, problem, key)
  local entry = MESSAGES[problem]
  if problem == "duplicate" then
    entry = { "duplicate_key", "The key '" .. key .. "' occurs more than once; providers disagree on which one counts, send it once.", key }
  elseif problem == "spelling" then
    entry = { "ambiguous_key", "A key reads as '" .. key .. "' but is spelled with capitals or escapes; write it as '" .. key .. "'.", key }
  end
  refuse(h, dialect, "400", entry[1], entry[2], entry[3])
end
