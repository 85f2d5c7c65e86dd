"""Requirement x curves x prices: a ranking with reasons."""
