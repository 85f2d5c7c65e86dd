"""giq: an open GKE Inference Quickstart."""
