"""Measures and their collection into tables."""
