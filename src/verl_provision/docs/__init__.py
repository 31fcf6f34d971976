"""The generated parts of the documentation; `make docs` writes them, a test keeps them true."""
