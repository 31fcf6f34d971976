"""What the container modules share. Standard library only, Python 3.8 or newer: it runs on the hosts."""
