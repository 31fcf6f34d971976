"""Image references, read as Docker does."""

HUB = "docker.io"


def registry(reference: str) -> str:
    """The registry of a reference, Docker Hub where none is named."""
    first, slash, _rest = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def short(reference: str) -> str:
    """Without Docker Hub's name."""
    return reference.removeprefix("index.").removeprefix(f"{HUB}/")


def plain(reference: str) -> str:
    """Without digest and Docker Hub's name."""
    return short(reference.partition("@")[0])


def tag(reference: str) -> str:
    """The tag; "" where there is none (a port is none)."""
    name = reference.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2]
