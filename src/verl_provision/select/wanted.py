"""Wishes as the decisions read them: typed, with `latest` and `auto` still in them."""

from dataclasses import dataclass
from typing import Any

from verl_provision import versions
from verl_provision import wishes as wish_list


@dataclass(frozen=True, slots=True)
class Wishes:
    """One host's wishes."""

    version: str  # "latest" or a release without its v
    engine: str
    trainer: str
    scenario: str
    params_b: float | None
    family: str | None
    algorithm: str
    nnodes: int
    cluster_state: str
    backend: str
    policy: str
    image: str | None
    force: bool
    verify_level: str
    verify_again: bool
    disrupt: bool
    state_dir: str
    prefix: str
    container: str
    source_method: str
    source_manager: str
    commit: str | None
    mirrors: dict[str, str | None]
    proxy: str | None
    no_proxy: tuple[str, ...]

    @property
    def ray_container(self) -> str:
        """The name of the container that runs Ray, as the facts and the gate know it."""
        return f"{self.container}-ray"


def read(raw: Any) -> tuple[Wishes, list[dict[str, Any]]]:
    """Typed wishes and the errors of those that were refused; any shape of input will do."""
    values, errors = wish_list.parse(raw if raw is not None else {})
    family = values["verl_model_family"]
    return Wishes(
        version=versions.without_v(values["verl_version"]),
        engine=values["verl_engine"],
        trainer=values["verl_trainer"],
        scenario=values["verl_scenario"],
        params_b=values["verl_model_params_b"],
        family=family.lower() if family else None,
        algorithm=values["verl_algorithm"],
        nnodes=values["verl_nnodes"],
        cluster_state=values["verl_cluster_state"],
        backend=values["verl_backend"],
        policy=values["verl_driver_policy"],
        image=values["verl_image"],
        force=values["verl_image_force"],
        verify_level=values["verl_verify_level"],
        verify_again=values["verl_verify_again"],
        disrupt=values["verl_allow_disruption"],
        state_dir=values["verl_state_dir"],
        prefix=values["verl_prefix"],
        container=values["verl_container_name"],
        source_method=values["verl_source_method"],
        source_manager=values["verl_source_manager"],
        commit=values["verl_commit"],
        mirrors={
            name.removeprefix("verl_mirror_"): value
            for name, value in values.items()
            if name.startswith("verl_mirror_")
        },
        proxy=values["verl_proxy"],
        no_proxy=tuple(values["verl_no_proxy"]),
    ), errors
