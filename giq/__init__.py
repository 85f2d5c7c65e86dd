"""giq: an open GKE Inference Quickstart."""

__version__ = "0.1.0"
