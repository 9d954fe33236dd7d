"""Recurrent networks in plain NumPy: forward passes and hand-derived backward passes."""
