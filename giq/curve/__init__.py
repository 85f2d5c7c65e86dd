"""What an answer means: record to point to curve; saturation, capacity, the next load (pure)."""
