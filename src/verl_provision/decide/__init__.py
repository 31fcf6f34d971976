"""The decisions: pure functions of (facts, variables, catalog). No clock, no network, no globals; never raises."""
