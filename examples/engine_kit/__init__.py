"""A real engine to try things with, made on the spot: a tiny model, and llama.cpp's server to serve it."""
