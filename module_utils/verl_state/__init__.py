"""State on a host: small files, and who may write them."""
