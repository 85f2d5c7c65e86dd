"""What is asked: token lengths, arrivals, prompts, as a seeded schedule (pure)."""
