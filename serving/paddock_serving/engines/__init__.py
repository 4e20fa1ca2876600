"""Engines, one a file: `create(config)` gives a loaded one. `model.yaml` names the file."""
