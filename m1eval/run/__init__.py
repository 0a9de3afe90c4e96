"""Doing a run: plan, generate, grade, record."""
