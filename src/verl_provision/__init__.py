"""verl-provision: decide, explain and report how a GPU machine becomes a verified verl environment."""

__version__ = "0.1.0"
