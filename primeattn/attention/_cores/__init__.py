"""Loops that several mechanisms share: who owns which row or tile. They know arrays, not mechanisms."""
