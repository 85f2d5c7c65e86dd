"""giq and the tools it is compared with, side by side on the same work."""
