"""Sign-in to clouds: one module for each, all blocking, each importing its cloud's library only when it is asked for a token."""
