"""Adapters: families of models that the generic encoder alone cannot serve."""
