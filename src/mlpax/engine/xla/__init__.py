"""The XLA backend: every program that JAX compiles."""
