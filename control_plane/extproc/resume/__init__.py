"""Going on with a streamed text that has broken off, at another target and unseen by the client."""
