"""The layers that all stand-in images share: Debian with Python, and verl's real dependencies."""

from pathlib import Path

from lab import cache, machine, settings
from lab.build import builder, rootfs, torchwheel

SITE = "usr/local/lib/python3.11/dist-packages"

SCRIPT = r"""
root=/tmp/root site=/tmp/root/SITE
python3 -m pip install -q --break-system-packages --root-user-action=ignore --no-compile --root "$root" \
    /torch/cpu/torch/*.whl -r /files/image/requirements.txt
# Nothing here is needed to import or run verl: tests, headers, static libraries, Ray's Java and its RL library.
find "$site" -depth -type d \( -name tests -o -name __pycache__ \) -not -path '*/numpy/*' -exec rm -rf {} +
rm -rf "$site"/pyarrow/include "$site"/ray/jars "$site"/ray/rllib "$site"/ray/core/generated/*.a
find "$site" -name '*.a' -delete
# Compiled where an import would otherwise take long, in every new container.
python3 -m compileall -q -j2 "$site"/torch "$site"/tensordict "$site"/ray "$site"/numpy "$site"/pandas || true
# Which torch it is, each image says for itself.
mkdir /out/torch
mv "$site"/torch-*.dist-info/METADATA "$site"/torch/version.py /out/torch
rm -rf "$site"/torch-*.dist-info
python3 -m pip list --path "$site" --format json > /out/packages.json
# The images reach the package index as the machine does.
mkdir -p "$root/etc/ssl/certs"
cp /etc/pip.conf "$root/etc/pip.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
tar cf /out/dependencies.tar -C "$root" --sort=name --owner=0 --group=0 .
""".replace("SITE", SITE)


def make() -> Path:
    """Give a folder with the dependencies' archive, torch's own metadata and the list of packages."""
    certificates = machine.ca_bundle().read_text() if machine.ca_bundle() else ""
    wheel = torchwheel.make()
    requirements = settings.FILES / "image/requirements.txt"
    inputs = [requirements, SCRIPT, machine.pip_conf(), certificates, wheel.name, rootfs.make("image").parent.name]
    return cache.step(
        "image-base",
        inputs,
        lambda folder: builder.run(SCRIPT, folder, image=rootfs.image("image"), mounts={wheel: "/torch"}),
    )
