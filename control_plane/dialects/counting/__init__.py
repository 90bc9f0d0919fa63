"""Token counting: a chat request of any dialect, asked for its size instead of for an answer."""
