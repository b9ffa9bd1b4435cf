"""The mathematics of a network, at its public path."""

from mlpax.engine.xla.network import ACTIVATIONS, Params, batch_forward, forward, initialize_weights

__all__ = ["ACTIVATIONS", "Params", "batch_forward", "forward", "initialize_weights"]
