"""The simulated vLLM: step time, scheduler, HTTP server."""
