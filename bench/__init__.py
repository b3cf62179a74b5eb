"""Measurements, as ratios against something in the same run. Each says how to run it; none is a test."""
