-- What all of the edge filter shares: the standard library, how garbage is collected, limits.

local byte, find, sub, match, gmatch, gsub = string.byte, string.find, string.sub, string.match, string.gmatch, string.gsub
local lower, char, format, concat, tonumber = string.lower, string.char, string.format, table.concat, tonumber
local ffi = require("ffi")
local cast, octets, text_at = ffi.cast, ffi.typeof("const uint8_t *"), ffi.string
local buffer = require("string.buffer")
local clear = require("table.clear")

-- Most of what a request allocates is its body, and the live heap of this script is small: a cycle over it takes 20 µs. So cycles
-- are run at once and often: what they free is then still in the processor's cache. Less often after a long body, so that a
-- string that comes again (a history that is sent with every turn) is found and not made anew.
collectgarbage("setstepmul", 1000000) -- a cycle is one step
local PAUSE, PAUSE_LONG = 150, 400 -- start one when the heap is so many percent of what the last one left
local pause = PAUSE
collectgarbage("setpause", pause)
local LONG_BYTES = 65536
local COLLECT_BYTES = 1048576 -- after a body that is larger, at once

local MODEL_HEADER = "x-headgate-model"
local SPACE = "headgate" -- dynamic metadata namespace

local DEPTH_MAX = 64 -- nested arrays and objects; deeper bodies are attacks on parsers
local MODEL_BYTES_MAX = 200
local WORD_BYTES_MAX = 64 -- a finish reason or the type of an error
local KEY_BYTES_MAX = 84 -- "stream_options" with every letter written as \u00xx; longer keys cannot be one of ours
local CARRY_BYTES_MAX = 65536 -- an incomplete line of a stream, kept for the meter
local FRAME_BYTES_MAX = 1048576 -- the same for a frame of AWS's streams: the last one may hold what a guardrail found
local RESPONSE_BYTES_MAX = 1048576 -- the same for Responses, whose last event repeats the answer, the instructions and the tools
local HELD_BYTES_MAX = 16384 -- an incomplete event kept from the client; a usage-only chunk has under 2 KiB
local ERROR_BYTES_MAX = 4096 -- a whole answer that may be an error
local WHOLE_BYTES_MAX = 65536 -- of a whole answer that is longer than twice this, only the end is kept for the meter
local RELINKED_BYTES_MAX = 4194304 -- a list of batches, a thousand at most
local SUGGESTIONS_PER_SECOND = 20 -- nearest names are worked out at most so often per worker
