"""One frozen plan in, Kubernetes documents out."""
