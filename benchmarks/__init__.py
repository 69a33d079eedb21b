"""Side by side with peers, in one run: `make bench`. Ratios, because machines differ."""
