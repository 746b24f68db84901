"""The machine that both searches share: spaces, algorithms, data, devices, training, records and the loop."""

__version__ = "0.1.0"
