"""From a decision to a plan: which steps a host needs, alone and among others. Pure functions; they never raise."""
