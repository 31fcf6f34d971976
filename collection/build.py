"""`make collection`: lay the project out as the Ansible collection verl.provision, and pack it into dist/."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NAME = "verl.provision"
ANSIBLE = ("2.19", "2.20", "2.21", "2.22")  # ansible-test wants its ignore file by release, and needs none for others
SAME = ("catalog", "playbooks", "roles", "src/verl_provision", "LICENSE", "CHANGELOG.md")
PLUGINS = {
    "action_plugins": "action",
    "callback_plugins": "callback",
    "doc_fragments": "doc_fragments",
    "library": "modules",
    "module_utils": "module_utils",
    "filter_plugins": "filter",
}
LICENCE = ("validate-modules:missing-gplv3-license", "modules of Ansible itself are GPL; this collection is Apache-2.0")
EXACT = "the boundary asks for exact types: to isinstance a bool is a number, and text with Ansible's tags is text"
IGNORED = [
    *((f"src/verl_provision/{name}.py", "pylint:unidiomatic-typecheck", EXACT)
      for name in ("boundary/answer", "boundary/schema", "boundary/text", "report/html")),
    ("src/verl_provision/boundary/schema.py", "pylint:unnecessary-lambda", "what it calls is made later"),
]  # fmt: skip
JUNK = shutil.ignore_patterns("__pycache__")


def lay_out(target: Path) -> None:
    """Write the collection's tree to `target`."""
    shutil.rmtree(target, ignore_errors=True)  # an earlier build's, where there is one
    for name in SAME:
        copy(ROOT / name, target / name)
    for source, kind in PLUGINS.items():
        copy(ROOT / source, target / "plugins" / kind)
    for role in ROOT.glob("roles/*"):
        copy(ROOT / f"docs/roles/{role.name}.md", target / f"roles/{role.name}/README.md")
    for name in ("README.md", "requirements.txt", "meta"):
        copy(HERE / name, target / name)
    ignore(target)
    rewrite(target)
    sys.path.insert(0, str(ROOT / "src"))
    from verl_provision import __version__

    about = yaml.safe_load((HERE / "about.yml").read_text()) | {"version": __version__}
    (target / "galaxy.yml").write_text(yaml.safe_dump(about, sort_keys=False))


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=JUNK)
    else:
        shutil.copy2(source, target)


def ignore(target: Path) -> None:
    """Name what `ansible-test sanity` need not say, with the reason."""
    kinds = ("modules", "callback")  # those that validate-modules reads
    plugins = sorted(str(path.relative_to(target)) for kind in kinds for path in target.glob(f"plugins/{kind}/*.py"))
    (target / "tests/sanity").mkdir(parents=True)
    found = [*((path, *LICENCE) for path in plugins), *IGNORED]
    text = "".join(f"{path} {test} # {why}\n" for path, test, why in found)
    for version in ANSIBLE:
        (target / f"tests/sanity/ignore-{version}.txt").write_text(text)


def rewrite(target: Path) -> None:
    """Name everything as a collection must: modules, filters and roles by their full names."""
    modules, filters, roles = (
        "|".join(sorted(path.stem for path in ROOT.glob(pattern)))
        for pattern in ("library/*.py", "filter_plugins/*.py", "roles/*")
    )
    rules = [
        (rf"(?m)^(\s*(?:- )?)({modules}):$", rf"\1{NAME}.\2:"),
        (rf"\| ({filters})\b", rf"| {NAME}.\1"),
        (rf"((?:include|import)_role:\n\s+name: )({roles})\b", rf"\1{NAME}.\2"),
        (r'(include_role:\n\s+name: ")({{ __verl_step }})', rf"\1{NAME}.\2"),  # a step is named as its role
        (rf"\b([MP])\(({modules}|{filters})\b", rf"\1({NAME}.\2"),  # links in the plugins' own documentation
        (r"(?m)^(extends_documentation_fragment: .*)$", lambda line: re.sub(r"\bverl_", f"{NAME}.verl_", line[0])),
        (r"\bansible\.module_utils\.verl_", f"ansible_collections.{NAME}.plugins.module_utils.verl_"),
        (r"\.parents\[1\] / \"src\"", '.parents[2] / "src"'),  # plugins/filter is one deeper than filter_plugins
    ]
    for part in ("playbooks", "plugins", "roles"):
        for path in sorted((target / part).rglob("*")):
            if path.suffix in (".py", ".yml"):
                text = path.read_text(encoding="utf-8")
                for pattern, replacement in rules:
                    text = re.sub(pattern, replacement, text)
                path.write_text(text, encoding="utf-8")


def main() -> None:
    """Lay out and pack."""
    target = ROOT / "build/collection"
    lay_out(target)
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    packed = [str(galaxy), "collection", "build", "--force", "--output-path", str(ROOT / "dist"), str(target)]
    subprocess.run(packed, check=True)


if __name__ == "__main__":
    main()
