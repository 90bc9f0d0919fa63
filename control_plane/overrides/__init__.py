"""The on-call overlay: what operators ask of traffic for a while, and the append-only record of it. Specs are never edited."""
