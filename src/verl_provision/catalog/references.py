"""Image references, read as Docker does."""

HUB = "docker.io"


def registry(reference: str) -> str:
    """The registry of a reference, Docker Hub where none is named."""
    first, slash, _rest = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB
