"""`conda create` as conda documents it, to hold our command lines against: no conda can be had where the tests run.

The options that the usage of releases 4.6, 23.7 and 26.5 all have (docs.conda.io, "conda create"): what's accepted
here, every conda of these years takes.
"""

import argparse


def parser(program: str = "conda") -> argparse.ArgumentParser:
    """A parser that refuses whatever the documented usage doesn't have."""
    conda = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    if program == "micromamba":  # its global options, beside those of conda
        conda.add_argument("--no-rc", action="store_true")
        conda.add_argument("-r", "--root-prefix")
    conda.add_argument("--clone")
    target = conda.add_mutually_exclusive_group(required=True)
    target.add_argument("-n", "--name")
    target.add_argument("-p", "--prefix")
    conda.add_argument("-c", "--channel", action="append", default=[])
    conda.add_argument("--file", action="append")
    for flag in (
        "--use-local", "--override-channels", "--strict-channel-priority", "--no-channel-priority", "--no-deps",
        "--only-deps", "--no-pin", "--copy", "--offline", "--json", "--download-only", "--show-channel-urls",
        "--no-default-packages", "--dev",
    ):  # fmt: skip
        conda.add_argument(flag, action="store_true")
    for short, flag in (
        ("-C", "--use-index-cache"), ("-k", "--insecure"), ("-v", "--verbose"), ("-q", "--quiet"), ("-d", "--dry-run"),
        ("-y", "--yes"),
    ):  # fmt: skip
        conda.add_argument(short, flag, action="store_true")
    conda.add_argument("package_spec", nargs="*")
    return conda


def create(words: list[str], program: str = "conda") -> argparse.Namespace:
    """Read a command line; an option that isn't documented, or a rule that's broken, raises."""
    assert words[1] == "create", words
    given = parser(program).parse_intermixed_args(words[2:])
    assert given.channel or not given.override_channels, "--override-channels requires --channel"
    return given
