"""A git repository with verl's real source trees, one commit for each release, made from PyPI."""

from pathlib import Path

from lab import cache, settings
from lab.build import builder

SCRIPT = r"""
export GIT_AUTHOR_NAME='verl-provision lab' GIT_AUTHOR_EMAIL=lab@localhost
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
git init -q -b main /tmp/verl
day=1
for release in $RELEASES; do
    export GIT_AUTHOR_DATE="2026-01-0${day}T00:00:00Z" GIT_COMMITTER_DATE="2026-01-0${day}T00:00:00Z"
    day=$((day + 1))
    python3 -m pip download -q --no-deps --no-binary verl --no-build-isolation -d /tmp/sdist "verl==$release"
    cd /tmp/verl
    git rm -rqf --ignore-unmatch .
    tar xzf "/tmp/sdist/verl-$release.tar.gz" --strip-components=1 --no-same-owner
    rm -rf PKG-INFO ./*.egg-info
    rm -f setup.cfg  # sdist's own addition
    mkdir -p scripts
    cp /files/git/install_vllm_sglang_mcore.sh scripts/
    chmod +x scripts/install_vllm_sglang_mcore.sh
    printf '__pycache__/\n*.egg-info/\n' > .gitignore
    git add -A
    git commit -qm "verl $release, as released on PyPI"
    git tag "v$release"
done
git clone -q --bare /tmp/verl /out/verl.git
git -C /out/verl.git remote remove origin
git -C /out/verl.git update-server-info
"""


def make() -> Path:
    """Give the folder that holds verl.git."""
    return cache.step(
        "verl-git",
        [settings.VERL_RELEASES, SCRIPT, settings.FILES / "git"],
        lambda folder: builder.run(SCRIPT, folder, environment={"RELEASES": " ".join(settings.VERL_RELEASES)}),
    )
