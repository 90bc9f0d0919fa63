-- A clock that all scripts of a machine share. Also before rename.lua.

local clock
do
  local ffi = require("ffi")
  pcall(ffi.cdef, "typedef struct { long s; long ns; } headgate_time; int clock_gettime(int clock, headgate_time *at);")
  local COARSE = 6 -- CLOCK_MONOTONIC_COARSE: 4 ms, without a system call
  local at = ffi.new("headgate_time")
  local system = ffi.C

  -- Milliseconds since some moment.
  function clock()
    system.clock_gettime(COARSE, at)
    return tonumber(at.s) * 1000 + tonumber(at.ns) / 1000000
  end
end

