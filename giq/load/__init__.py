"""Sends a schedule and stamps the answers."""
