"""The book's figures: one style, charts of measurements, diagrams drawn by code.

Importing this package does not import matplotlib; its rooms do.
"""
