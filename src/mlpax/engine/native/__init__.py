"""Training on a CPU by C++, without JAX."""
