/* First-event hold of the passthrough lane: an upstream filter of a target, run by the V8 in Envoy (proxy-wasm ABI 0.2.1).
 *
 * Keeps the response headers of a 200 until the body has shown that it is an answer, so that the router may still try the
 * next target: the first token timer then also sees headers that come at once with a late first event. What is no answer
 * becomes a 503: an error event or error object, text that is neither SSE nor JSON, HTML, a body that ends too early.
 * The bytes are never changed. Gives up holding, and lets everything pass, after EVENTS_MAX events or HELD_BYTES_MAX bytes.
 *
 * Freestanding: no libc. One VM per worker thread serves all targets. Nothing that the host copies in outlives a callback,
 * so the heap starts over with each one; what must last is one entry in `held` per stream that is being held.
 * Work is linear in the bytes held: each byte is looked at once for line ends and once when its line is complete.
 */
typedef unsigned char u8;
typedef unsigned int u32;

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))

enum { EVENTS_MAX = 64, HELD_BYTES_MAX = 256 * 1024, DEPTH_MAX = 64, STREAMS_MAX = 4096 };
enum { CONTINUE = 0, PAUSE = 1, BODY = 1, HEADERS = 2 };

IMPORT("proxy_get_buffer_bytes") extern int get_buffer(int type, u32 start, u32 most, const u8 **at, u32 *size);
IMPORT("proxy_get_header_map_value") extern int get_header(int map, const char *key, u32 key_size, const u8 **at, u32 *size);
IMPORT("proxy_replace_header_map_value") extern int set_header(int map, const char *key, u32 key_size, const char *value, u32 size);

/* ---------------------------------------------------------------------------------------------------------- memory */

static u8 heap[2 * HELD_BYTES_MAX + 4096]; /* one callback fetches new bytes and the bytes of its complete lines */
static u32 used;

EXPORT("malloc") void *allocate(u32 size) {
  u32 at = used;
  if (size > sizeof heap - at) return 0;
  used = (at + size + 7) & ~7u;
  return heap + at;
}

/* ---------------------------------------------------------------------------------------------------- held streams */

enum mode { SNIFF, EVENTS, WHOLE, FRAMES };
typedef struct {
  u32 id;     /* context id, 0 = free */
  u32 start;  /* first byte of the line or frame that is not complete yet */
  u32 seen;   /* bytes looked at for line ends; of frames, where the incomplete one ends, 0 while that is not known */
  u8 mode, events, in_event;
} stream;
static stream held[STREAMS_MAX * 2];
static u32 held_count;

static u32 place(u32 id) { return (id * 2654435761u) % (STREAMS_MAX * 2); }

static stream *lookup(u32 id) {
  for (u32 i = place(id); held[i].id; i = (i + 1) % (STREAMS_MAX * 2))
    if (held[i].id == id) return &held[i];
  return 0;
}

static stream *keep(u32 id) {
  if (held_count >= STREAMS_MAX) return 0;
  u32 i = place(id);
  while (held[i].id) i = (i + 1) % (STREAMS_MAX * 2);
  held[i] = (stream){.id = id};
  held_count++;
  return &held[i];
}

static void forget(u32 id) { /* moves later entries of the same run up, so that no gap hides them */
  stream *gone = lookup(id);
  if (!gone) return;
  u32 hole = (u32)(gone - held), i = hole;
  held[hole].id = 0;
  held_count--;
  for (;;) {
    i = (i + 1) % (STREAMS_MAX * 2);
    if (!held[i].id) return;
    u32 home = place(held[i].id), size = STREAMS_MAX * 2;
    if ((i + size - home) % size >= (i + size - hole) % size) {
      held[hole] = held[i];
      held[i].id = 0;
      hole = i;
    }
  }
}

/* ------------------------------------------------------------------------------------------------------------ text */

static int same(const u8 *p, const u8 *end, const char *text, u32 size) {
  if ((u32)(end - p) < size) return 0;
  for (u32 i = 0; i < size; i++)
    if (p[i] != (u8)text[i]) return 0;
  return 1;
}
#define IS(p, end, text) same(p, end, text, sizeof text - 1)

static int holds(const u8 *p, const u8 *end, const char *text, u32 size) { /* without regard to case; text is lower case */
  for (; (u32)(end - p) >= size; p++) {
    u32 i = 0;
    while (i < size && (p[i] | 32) == (u8)text[i]) i++;
    if (i == size) return 1;
  }
  return 0;
}

static const u8 *solid(const u8 *p, const u8 *end) {
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
  return p;
}

/* The end of the JSON value at p, 0 if it does not end or is none. Counts brackets, skips strings; grammar is the client's. */
static const u8 *past(const u8 *p, const u8 *end) {
  u8 open[DEPTH_MAX];
  u32 depth = 0;
  while (p < end) {
    u8 c = *p++;
    if (c == '"') {
      for (;;) {
        if (p >= end) return 0;
        c = *p++;
        if (c == '"') break;
        if (c == '\\') p++;
      }
    } else if (c == '{' || c == '[') {
      if (depth == DEPTH_MAX) return 0;
      open[depth++] = c;
      continue;
    } else if (c == '}' || c == ']') {
      if (!depth || open[depth - 1] + 2 != c) return 0;
      depth--;
    } else if (depth) {
      continue;
    } else { /* a scalar */
      const u8 *first = p - 1;
      while (p < end && *p != ',' && *p != '}' && *p != ']' && *p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') p++;
      u8 d = *first;
      return d == 't' || d == 'f' || d == 'n' || d == '-' || (d >= '0' && d <= '9') ? p : 0;
    }
    if (!depth) return p;
  }
  return 0;
}

/* One member of an object: sets *key, *key_end and *value, returns the end of the value, 0 when there is no further one.
 * Begin behind the opening brace; go on behind the value. */
static const u8 *member(const u8 *p, const u8 *end, const u8 **key, const u8 **key_end, const u8 **value) {
  p = solid(p, end);
  if (p < end && *p == ',') p = solid(p + 1, end);
  if (p >= end || *p != '"') return 0;
  *key = p + 1;
  p = past(p, end);
  if (!p) return 0;
  *key_end = p - 1;
  p = solid(p, end);
  if (p >= end || *p != ':') return 0;
  *value = p = solid(p + 1, end);
  return past(p, end);
}

/* The value of a key of the object at p, 0 if absent. */
static const u8 *value_of(const u8 *p, const u8 *end, const char *name, u32 size) {
  const u8 *key, *key_end, *value, *found = 0;
  if (p >= end || *p != '{') return 0;
  for (p++; (p = member(p, end, &key, &key_end, &value));)
    if ((u32)(key_end - key) == size && same(key, key_end, name, size)) found = value;
  return found;
}
#define VALUE(p, end, name) value_of(p, end, name, sizeof name - 1)

static int nothing(const u8 *p, const u8 *end) { /* null, "", [] or {} */
  if (*p == 'n') return 1;
  if (*p == '"') return p[1] == '"';
  if (*p == '[' || *p == '{') {
    p = solid(p + 1, end);
    return p < end && (*p == ']' || *p == '}');
  }
  return 0;
}

/* --------------------------------------------------------------------------------------------------------- verdicts */

enum verdict { MORE, GOOD, BAD };

/* An error object or event in the place of an answer. */
static int is_error(const u8 *p, const u8 *end) {
  const u8 *error = VALUE(p, end, "error"), *type = VALUE(p, end, "type"), *object = VALUE(p, end, "object");
  return (error && !nothing(error, end)) || (type && IS(type, end, "\"error\"")) || (object && IS(object, end, "\"error\""));
}

/* Finish reasons of Cohere that say the vendor failed. */
static int has_failed(const u8 *p, const u8 *end) {
  const u8 *finish = VALUE(p, end, "finish_reason");
  return finish && (IS(finish, end, "\"ERROR\"") || IS(finish, end, "\"TIMEOUT\""));
}

/* A delta or a choice holds content if any of its members but the role is more than empty. */
static int has_content(const u8 *p, const u8 *end) {
  const u8 *key, *key_end, *value;
  if (p >= end || *p != '{') return 0;
  for (p++; (p = member(p, end, &key, &key_end, &value));)
    if (!(key_end - key == 4 && IS(key, key_end, "role")) && !nothing(value, end)) return 1;
  return 0;
}

static enum verdict openai_chunk(const u8 *choices, const u8 *end) {
  if (*choices != '[') return MORE;
  const u8 *p = choices + 1;
  while ((p = solid(p, end)) < end && *p == '{') {
    const u8 *delta = VALUE(p, end, "delta"), *text = VALUE(p, end, "text"), *finish = VALUE(p, end, "finish_reason");
    if ((delta && has_content(delta, end)) || (text && !nothing(text, end)) || (finish && !nothing(finish, end))) return GOOD;
    p = past(p, end);
    if (!p) return MORE;
    p = solid(p, end);
    if (p < end && *p == ',') p++;
  }
  return MORE;
}

static enum verdict anthropic_event(const u8 *p, const u8 *type, const u8 *end) {
  if (IS(type, end, "\"content_block_delta\"") || IS(type, end, "\"message_delta\"") || IS(type, end, "\"message_stop\"")) return GOOD;
  if (IS(type, end, "\"content_block_start\"")) {
    const u8 *block = VALUE(p, end, "content_block"), *kind = block ? VALUE(block, end, "type") : 0;
    if (kind && !IS(kind, end, "\"text\"") && !IS(kind, end, "\"thinking\"")) return GOOD;
  }
  return MORE;
}

/* An event of OpenAI's Responses: what says only that something begins is no content, nor is reasoning that nobody has seen. */
static enum verdict response_event(const u8 *p, const u8 *type, const u8 *end) {
  if (IS(type, end, "\"response.failed\"")) return BAD;
  if (IS(type, end, "\"response.created\"") || IS(type, end, "\"response.in_progress\"") || IS(type, end, "\"response.queued\"")) return MORE;
  if (IS(type, end, "\"response.content_part.added\"") || IS(type, end, "\"response.reasoning_summary_part.added\"")) return MORE;
  int added = IS(type, end, "\"response.output_item.added\"");
  if (added || IS(type, end, "\"response.output_item.done\"")) {
    const u8 *item = VALUE(p, end, "item"), *kind = item ? VALUE(item, end, "type") : 0;
    return kind && (IS(kind, end, "\"reasoning\"") || (added && IS(kind, end, "\"message\""))) ? MORE : GOOD;
  }
  return GOOD;
}

/* A part of a Gemini candidate holds content if anything but the marks of thoughts is more than empty. */
static int part_content(const u8 *p, const u8 *end) {
  const u8 *key, *key_end, *value;
  if (p >= end || *p != '{') return 0;
  for (p++; (p = member(p, end, &key, &key_end, &value));)
    if (!IS(key, key_end, "thought") && !nothing(value, end)) return 1;
  return 0;
}

static enum verdict gemini_chunk(const u8 *candidates, const u8 *end) {
  if (*candidates != '[') return MORE;
  const u8 *p = candidates + 1;
  while ((p = solid(p, end)) < end && *p == '{') {
    const u8 *finish = VALUE(p, end, "finishReason"), *content = VALUE(p, end, "content"), *parts = content ? VALUE(content, end, "parts") : 0;
    if (finish && !nothing(finish, end)) return GOOD;
    if (parts && *parts == '[') {
      const u8 *q = parts + 1;
      while ((q = solid(q, end)) < end && *q == '{') {
        if (part_content(q, end)) return GOOD;
        q = past(q, end);
        if (!q) return MORE;
        q = solid(q, end);
        if (q < end && *q == ',') q++;
      }
    }
    p = past(p, end);
    if (!p) return MORE;
    p = solid(p, end);
    if (p < end && *p == ',') p++;
  }
  return MORE;
}

/* An event of Cohere's. */
static enum verdict cohere_event(const u8 *p, const u8 *type, const u8 *end) {
  if (IS(type, end, "\"message-start\"") || IS(type, end, "\"content-end\"") || IS(type, end, "\"debug\"")) return MORE;
  if (IS(type, end, "\"message-end\"")) {
    const u8 *delta = VALUE(p, end, "delta");
    return delta && has_failed(delta, end) ? BAD : GOOD;
  }
  if (IS(type, end, "\"content-start\"")) {
    const u8 *delta = VALUE(p, end, "delta"), *message = delta ? VALUE(delta, end, "message") : 0;
    const u8 *content = message ? VALUE(message, end, "content") : 0, *kind = content ? VALUE(content, end, "type") : 0;
    return !kind || IS(kind, end, "\"text\"") || IS(kind, end, "\"thinking\"") ? MORE : GOOD;
  }
  return GOOD;
}

static int of_cohere(const u8 *type, const u8 *end) {
  return IS(type, end, "\"message-") || IS(type, end, "\"content-") || IS(type, end, "\"tool-") || IS(type, end, "\"citation-")
    || IS(type, end, "\"debug\"");
}

/* One data line of a stream. */
static enum verdict data(const u8 *p, const u8 *end) {
  p = solid(p, end);
  if (p == end) return MORE;
  if (*p != '{' || !past(p, end)) return BAD; /* also [DONE], which must not come before any content */
  if (is_error(p, end)) return BAD;
  const u8 *choices = VALUE(p, end, "choices");
  if (choices) return openai_chunk(choices, end);
  const u8 *candidates = VALUE(p, end, "candidates"), *blocked = VALUE(p, end, "promptFeedback");
  if (blocked && VALUE(blocked, end, "blockReason")) return GOOD;
  if (candidates) return gemini_chunk(candidates, end);
  const u8 *type = VALUE(p, end, "type");
  if (type && IS(type, end, "\"response.")) return response_event(p, type, end);
  if (type && of_cohere(type, end)) return cohere_event(p, type, end);
  return type ? anthropic_event(p, type, end) : MORE;
}

/* One line of a stream without its line end. */
static enum verdict line(stream *s, const u8 *p, const u8 *end) {
  if (end > p && end[-1] == '\r') end--;
  if (p == end) {
    if (s->in_event && ++s->events >= EVENTS_MAX) return GOOD;
    s->in_event = 0;
    return MORE;
  }
  if (*p == ':') return MORE;
  s->in_event = 1;
  if (IS(p, end, "data:")) return data(p + 5, end);
  if (IS(p, end, "event:")) {
    p = solid(p + 6, end);
    return end - p == 5 && IS(p, end, "error") ? BAD : MORE;
  }
  return IS(p, end, "id:") || IS(p, end, "retry:") ? MORE : BAD;
}

/* A whole answer must be one JSON object or array that is no error. */
static enum verdict whole(const u8 *p, const u8 *end) {
  p = solid(p, end);
  if (p == end || (*p != '{' && *p != '[')) return BAD;
  const u8 *after = past(p, end);
  if (!after || solid(after, end) != end) return BAD;
  if (*p == '[') p = solid(p + 1, end); /* Gemini's stream without events */
  if (p >= end || *p != '{') return GOOD;
  const u8 *message = VALUE(p, end, "message"); /* Cohere: an object in an answer, the text of an error */
  return is_error(p, end) || has_failed(p, end) || (message && *message == '"') ? BAD : GOOD;
}

static u32 number(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

static u32 crc32(const u8 *p, u32 size) {
  u32 crc = ~0u;
  while (size--) {
    crc ^= *p++;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

/* AWS's event stream: lengths and their checksum, headers that say what a frame is, a payload nobody needs to look at. */
static enum verdict frames(stream *s, u32 size, int end) {
  const u8 *at;
  u32 got;
  while (size - s->start >= 12 && s->seen <= size) {
    if (get_buffer(BODY, s->start, 12, &at, &got) || got < 12) return GOOD;
    u32 length = number(at), headers = number(at + 4);
    if (crc32(at, 8) != number(at + 8) || length < 16 || headers > length - 16) return BAD;
    if (length > HELD_BYTES_MAX) return GOOD;
    s->seen = s->start + length;
    if (s->seen > size) break;
    if (get_buffer(BODY, s->start + 12, headers, &at, &got)) return GOOD;
    if (holds(at, at + got, ":exception-type", 15) || holds(at, at + got, ":error-code", 11)) return BAD;
    if (holds(at, at + got, "contentblockdelta", 17) || holds(at, at + got, "contentblockstart", 17)) return GOOD;
    if (holds(at, at + got, "messagestop", 11) || ++s->events >= EVENTS_MAX) return GOOD;
    s->start = s->seen;
    s->seen = 0;
  }
  return end ? BAD : MORE;
}

/* What the body so far (size bytes, end: all of it) says about the stream. */
static enum verdict judge(stream *s, u32 size, int end) {
  const u8 *at;
  u32 got;
  if (s->mode == SNIFF && size) {
    if (get_buffer(BODY, 0, size < 64 ? size : 64, &at, &got)) return GOOD;
    const u8 *p = solid(at, at + got);
    if (p < at + got) {
      if (*p == '{' || *p == '[') s->mode = WHOLE;
      else if (*p == ':' || *p == 'd' || *p == 'e' || *p == 'i' || *p == 'r') s->mode = EVENTS; /* the lines are judged below */
      else return BAD;
    }
  }
  if (size > HELD_BYTES_MAX) return GOOD;
  if (s->mode == FRAMES) return frames(s, size, end);
  if (s->mode == WHOLE || s->mode == SNIFF) {
    if (!end) return MORE;
    if (!size) return BAD;
    return get_buffer(BODY, 0, size, &at, &got) ? GOOD : whole(at, at + got);
  }
  if (size > s->seen) {
    if (get_buffer(BODY, s->seen, size - s->seen, &at, &got)) return GOOD;
    u32 last = got;
    while (last && at[last - 1] != '\n') last--;
    u32 complete = s->seen + last;
    s->seen += got;
    if (last) {
      if (get_buffer(BODY, s->start, complete - s->start, &at, &got)) return GOOD;
      s->start = complete;
      for (const u8 *p = at, *stop = at + got; p < stop;) {
        const u8 *q = p;
        while (*q != '\n') q++;
        enum verdict v = line(s, p, q);
        if (v != MORE) return v;
        p = q + 1;
      }
    } else if (s->start == 0 && s->seen > 64 && end == 0) { /* a long first line: is it SSE at all? */
      if (get_buffer(BODY, 0, 8, &at, &got)) return GOOD;
      const u8 *stop = at + got;
      if (!IS(at, stop, "data:") && !IS(at, stop, ":") && !IS(at, stop, "event:") && !IS(at, stop, "id:") && !IS(at, stop, "retry:")) return BAD;
    }
  }
  return end ? BAD : MORE;
}

/* -------------------------------------------------------------------------------------------------------- callbacks */

static int refuse(void) { return set_header(HEADERS, ":status", 7, "503", 3); }

EXPORT("proxy_abi_version_0_2_1") void abi(void) {}
EXPORT("_initialize") void initialize(void) {}
EXPORT("proxy_on_context_create") void on_create(u32 id, u32 parent) {}
EXPORT("proxy_on_vm_start") int on_vm_start(u32 id, u32 size) { return 1; }
EXPORT("proxy_on_configure") int on_configure(u32 id, u32 size) { return 1; }
EXPORT("proxy_on_done") int on_done(u32 id) { return 1; }
EXPORT("proxy_on_delete") void on_delete(u32 id) { forget(id); }

EXPORT("proxy_on_response_headers") int on_headers(u32 id, u32 count, int end) {
  const u8 *at;
  u32 size;
  used = 0;
  if (get_header(HEADERS, ":status", 7, &at, &size) || size != 3 || !IS(at, at + size, "200")) return CONTINUE;
  if (end) {
    refuse();
    return CONTINUE;
  }
  if (!get_header(HEADERS, "content-encoding", 16, &at, &size) && size && !holds(at, at + size, "identity", 8)) return CONTINUE;
  u8 mode = SNIFF;
  if (!get_header(HEADERS, "content-type", 12, &at, &size)) {
    if (holds(at, at + size, "text/html", 9)) {
      refuse();
      return CONTINUE;
    }
    if (holds(at, at + size, "text/event-stream", 17)) mode = EVENTS;
    if (holds(at, at + size, "application/vnd.amazon.eventstream", 34)) mode = FRAMES;
  }
  stream *s = keep(id);
  if (!s) return CONTINUE;
  s->mode = mode;
  return PAUSE;
}

EXPORT("proxy_on_response_body") int on_body(u32 id, u32 size, int end) {
  used = 0;
  stream *s = held_count ? lookup(id) : 0;
  if (!s) return CONTINUE;
  enum verdict v = judge(s, size, end);
  if (v == MORE) return PAUSE;
  forget(id);
  if (v == BAD) refuse();
  return CONTINUE;
}

EXPORT("proxy_on_response_trailers") int on_trailers(u32 id, u32 count) {
  if (lookup(id)) {
    forget(id);
    refuse();
  }
  return CONTINUE;
}
