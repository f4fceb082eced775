"""Scores: metrics, question matching, floors, the results table."""
