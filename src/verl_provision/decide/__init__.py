"""The decisions: pure functions of (facts, wishes, catalog). No clock, no network, no globals; never raises."""
