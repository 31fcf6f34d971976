"""Puts what Ansible runs into the wheel, beside the package (verl_provision/paths.py finds it there)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROJECT = (
    "action_plugins",
    "ansible.cfg",
    "callback_plugins",
    "site.yml",
    "catalog",
    "doc_fragments",
    "filter_plugins",
    "inventories/example-cluster",
    "inventories/local",
    "library",
    "module_utils",
    "playbooks",
    "roles",
)


class BuildWithProject(build_py):
    """The package, with `project/` in it."""

    def run(self) -> None:
        """Build; an editable install uses the clone itself."""
        super().run()
        if self.editable_mode:
            return
        project = Path(self.build_lib) / "verl_provision/project"
        shutil.rmtree(project, ignore_errors=True)  # nothing of an earlier build
        for name in PROJECT:
            source, target = ROOT / name, project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)


setup(cmdclass={"build_py": BuildWithProject})
