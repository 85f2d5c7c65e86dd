"""What exists: models, accelerators, prices, use cases, model servers."""
