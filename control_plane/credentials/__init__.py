"""Provider keys: where they come from, and a type that keeps them out of logs."""
