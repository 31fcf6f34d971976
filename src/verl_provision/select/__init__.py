"""What a host gets, and why: pure functions of (facts, preferences, catalog). No clock, no network, no globals."""
