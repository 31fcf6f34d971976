"""Docker's own apt repository: its packages' names and layout, Debian's engine inside, a key of the lab."""

from pathlib import Path

from lab import cache
from lab.build import builder, rootfs

SUITE = "trixie"  # of the hosts that start without an engine
SCRIPT = r"""
export DEBIAN_FRONTEND=noninteractive
us="verl-provision lab <lab@localhost>"
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
ending="~debian.$(. /etc/os-release && echo "$VERSION_ID")~$suite"
pool=/out/debian/dists/$suite/pool/stable/amd64
index=/out/debian/dists/$suite/stable/binary-amd64
mkdir -p "$pool" "$index" /tmp/debs
cd /tmp/debs
apt-get -q update
apt-get -qy install --no-install-recommends apt-utils
apt-get -q download docker.io docker-cli containerd runc docker-buildx

# take DEBIAN-PACKAGE: its files and maintainer scripts, and in $upstream the version without Debian's part.
take() {
    dpkg-deb -R "$1"_*.deb "/tmp/$1"
    upstream=$(sed -n 's/^Version: \([0-9.]*\).*/\1/p' "/tmp/$1/DEBIAN/control")
    rm -rf "/tmp/$1/usr/share/doc" "/tmp/$1/usr/share/lintian" "/tmp/$1/DEBIAN/md5sums"
}
# give DEBIAN-PACKAGE AS VERSION DEPENDS [FIELD...]: the same under Docker's name.
give() {
    from=/tmp/$1 name=$2 version=$3 depends=$4
    shift 4
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: %s\n' "$name" "$version" "$us"
        printf 'Depends: %s\n' "$depends"
        for field; do echo "$field"; done
        printf "Description: Debian's package under Docker's name, for the verl-provision lab\n"
    } > "$from/DEBIAN/control"
    dpkg-deb -Zgzip -b "$from" "$pool/${name}_${version#*:}_amd64.deb"
}

take docker.io
give docker.io docker-ce "5:$upstream-1$ending" \
    "libc6, libsystemd0, adduser, iptables, tini, containerd.io (>= 1.6.4), docker-ce-cli" \
    "Conflicts: docker.io" "Recommends: docker-buildx-plugin"
take docker-cli
give docker-cli docker-ce-cli "5:$upstream-1$ending" libc6 "Conflicts: docker-cli, docker.io"
take runc
take containerd
cp -a /tmp/runc/usr /tmp/containerd
give containerd containerd.io "$upstream-1" "libc6, libseccomp2" \
    "Conflicts: containerd, runc" "Replaces: containerd, runc" "Provides: containerd, runc"
take docker-buildx
give docker-buildx docker-buildx-plugin "$upstream-1$ending" libc6 "Conflicts: docker-buildx"

export GNUPGHOME=/tmp/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg -q --batch --passphrase '' --quick-gen-key "$us" rsa3072 sign never
gpg -q --armor --export > /out/debian/gpg
gpg -q --with-colons --list-keys | awk -F: '$1 == "fpr" {print $10; exit}' > /out/fingerprint
cd /out/debian
apt-ftparchive packages "dists/$suite/pool" > "$index/Packages"
gzip -9k "$index/Packages"
cd "dists/$suite"
release=APT::FTPArchive::Release
apt-ftparchive -o $release::Suite="$suite" -o $release::Codename="$suite" -o $release::Components=stable \
    -o $release::Architectures=amd64 release . > /tmp/Release
mv /tmp/Release Release
gpg -q --batch --clearsign -o InRelease Release
"""


def make() -> Path:
    """Give a folder with `debian`, as a mirror of Docker's would have it, and `fingerprint`."""
    image = rootfs.image(f"{SUITE}-docker")
    return cache.step("docker-apt", [SCRIPT, image], lambda folder: builder.run(SCRIPT, folder, image=image))


def fingerprint() -> str:
    """Give the fingerprint of the key that signs the repository."""
    return (make() / "fingerprint").read_text().strip()
