"""Policies on when and whether to start again: pure values, no clocks, no chance of their own."""
