"""A stand-in for NVIDIA's management library, for hosts without a GPU: see `stub`."""
