"""Building a verl environment from source packages, on the host, with the standard library only."""
