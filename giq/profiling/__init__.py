"""The loop of `giq profile`: next load, load, point, saved."""
