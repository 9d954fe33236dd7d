"""rnnlib: the small library under the textbook *Recurrent Neural Networks, Measured*."""

__version__ = "0.1.0"
