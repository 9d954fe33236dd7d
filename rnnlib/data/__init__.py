"""Data sets and task families. Each room holds one: real text, synthetic tasks."""
