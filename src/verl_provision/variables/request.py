"""What a user asks for on one host, typed: the only form of `verl_*` variables that decisions and plans read."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One host's `verl_*` variables."""

    version: str  # "latest" or a release without its v
    engine: str
    trainer: str
    scenario: str
    params_b: float | None
    family: str | None
    algorithm: str
    nnodes: int
    backend: str
    policy: str
    image: str | None
    gpus: tuple[str, ...]
    force: bool
    verify_level: str
    verify_again: bool
    disrupt: bool
    discard_changes: bool
    state_dir: str
    prefix: str
    container: str
    source_method: str
    source_manager: str
    commit: str | None
    mirror_apt: str | None
    mirror_registry: str | None
    mirror_pypi: str | None
    mirror_torch: str | None
    mirror_git: str | None
    mirror_toolkit: str | None
    mirror_conda: str | None
    mirror_huggingface: str | None
    mirror_downloads: str | None
    proxy: str | None
    no_proxy: tuple[str, ...]

    @property
    def ray_container(self) -> str:
        """The name of the container that runs Ray, as the facts and the gate know it."""
        return f"{self.container}-ray"

    @property
    def mirrors(self) -> dict[str, str | None]:
        """The mirrors by what they are of."""
        return {name: getattr(self, field) for name, field in _MIRRORS}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Request":
        """From variables that were parsed."""
        family = values["verl_model_family"]
        special = {
            "version": values["verl_version"].removeprefix("v"),
            "params_b": values["verl_model_params_b"],
            "family": family.lower() if family else None,
            "policy": values["verl_driver_policy"],
            "force": values["verl_image_force"],
            "disrupt": values["verl_allow_disruption"],
            "discard_changes": values["verl_discard_container_changes"],
            "container": values["verl_container_name"],
            "gpus": tuple(values["verl_gpus"]),
            "no_proxy": tuple(values["verl_no_proxy"]),
        }
        same = {about.name: values[f"verl_{about.name}"] for about in fields(cls) if about.name not in special}
        return cls(**same, **special)


_MIRRORS = tuple(
    (about.name.removeprefix("mirror_"), about.name) for about in fields(Request) if about.name.startswith("mirror_")
)
