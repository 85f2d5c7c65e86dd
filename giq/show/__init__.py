"""Tables, live display, and the same rows as JSON, YAML or CSV."""
