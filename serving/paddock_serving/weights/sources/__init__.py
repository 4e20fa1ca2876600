"""Where checkpoints come from, one kind a file: `open_source(checkpoint=..., settings=...)` gives a Source."""
