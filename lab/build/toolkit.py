"""NVIDIA's container toolkit from its Go module, as signed .debs with NVIDIA's own maintainer scripts."""

import json
from pathlib import Path

from lab import cache, machine, settings
from lab.build import builder, gomodules

# libnvidia-container is a C library that isn't built here: its two packages only take their place.
SCRIPT = r"""
export PATH="$PATH:/usr/local/go/bin" GOFLAGS=-modcacherw GOTOOLCHAIN=local GOPATH=/tmp/go DEB_BUILD_OPTIONS=nocheck
commands="nvidia-ctk nvidia-container-runtime nvidia-container-runtime.cdi nvidia-container-runtime.legacy
    nvidia-container-runtime-hook nvidia-cdi-hook"
repository=/out/repository/stable/deb/amd64
us="verl-provision lab <lab@localhost>"
mkdir -p "$repository"

for version in $VERSIONS; do
    build=/tmp/build-$version package=$version-1
    mkdir -p "$build"
    GOBIN=$build go install -ldflags "-s -w -X $MODULE/internal/info.version=$version \
        '-extldflags=-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-z,lazy'" \
        $(for command in $commands; do echo "$MODULE/cmd/$command@v$version"; done) 2>&1 | grep -v warning || true
    source=$(go mod download -json "$MODULE@v$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    cd "$build"
    cp "$source"/deployments/systemd/nvidia-cdi-refresh.* .
    cp -r "$source"/packaging/debian debian
    {
        printf 'nvidia-container-toolkit (%s) UNRELEASED; urgency=medium\n\n' "$package"
        printf '  * Built for the lab of verl-provision.\n\n -- %s  Thu, 01 Jan 2026 00:00:00 +0000\n' "$us"
    } > debian/changelog
    chmod +x debian/rules debian/prepare
    SECTION='' VERSION=$package ./debian/prepare
    dpkg-buildpackage -b -us -uc -d > build.log 2>&1 || { tail -30 build.log; exit 1; }
    cp /tmp/nvidia-container-toolkit_"$package"_*.deb /tmp/nvidia-container-toolkit-base_"$package"_*.deb "$repository"
    for name in libnvidia-container1 libnvidia-container-tools; do
        mkdir -p "/tmp/$name-$version/DEBIAN"
        {
            printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: %s\n' "$name" "$package" "$us"
            [ "$name" = libnvidia-container1 ] || printf 'Depends: libnvidia-container1 (= %s)\n' "$package"
            printf 'Description: stand-in of the verl-provision lab\n Holds no files, as the lab has no C library.\n'
        } > "/tmp/$name-$version/DEBIAN/control"
        dpkg-deb -Zgzip -b "/tmp/$name-$version" "$repository/${name}_${package}_amd64.deb"
    done
done

# The same repository twice: signed with the lab's key, and with another one as after a break-in.
cp -rl /out/repository /out/rekeyed
for tree in repository rekeyed; do
    export GNUPGHOME=/tmp/gnupg-$tree
    mkdir -m 700 "$GNUPGHOME"
    gpg -q --batch --passphrase '' --quick-gen-key "verl-provision lab ($tree) <lab@localhost>" rsa3072 sign never
    gpg -q --armor --export > "/out/$tree/gpgkey"
    gpg -q --with-colons --list-keys | awk -F: '$1 == "fpr" {print $10; exit}' > "/out/$tree.fingerprint"
    cd "/out/$tree/stable/deb/amd64"
    apt-ftparchive packages . > Packages.new && mv Packages.new Packages
    gzip -9kf Packages
    apt-ftparchive -o APT::FTPArchive::Release::Origin="verl-provision lab" release . > /tmp/Release
    cp /tmp/Release Release
    gpg -q --batch --clearsign -o InRelease Release
    gpg -q --batch --armor --detach-sign -o Release.gpg Release
done
"""


def make() -> Path:
    """Give a folder with `repository` and `rekeyed`, two flat apt repositories, and their keys' fingerprints."""
    go = machine.go()
    names = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE")
    environment = json.loads(machine.output(str(go), "env", "-json", *names, cwd="/"))
    root = Path(machine.output(str(go), "env", "GOROOT", cwd="/").strip())
    environment |= {"VERSIONS": " ".join(settings.TOOLKIT_VERSIONS), "MODULE": gomodules.TOOLKIT}
    return cache.step(
        "toolkit",
        [settings.TOOLKIT_VERSIONS, SCRIPT],
        lambda folder: builder.run(SCRIPT, folder, mounts={root: "/usr/local/go"}, environment=environment),
    )


def fingerprint() -> str:
    """Give the fingerprint of the key that signs the repository."""
    return (make() / "repository.fingerprint").read_text().strip()
