"""A stand-in for conda and its like: none can be had where the tests run."""

from tests.lab.fleet import ROOT

# It makes an environment with the host's Python, and takes only what conda documents (conda_interface.py).
CONDA = (
    "#!/usr/bin/python3\n"
    + (ROOT / "tests/unit/source_environment/conda_interface.py").read_text()
    + """
if __name__ == "__main__":
    import os, subprocess, sys
    given = create(sys.argv, os.path.basename(sys.argv[0]))
    with open(os.path.expanduser("~/conda.calls"), "a") as calls:
        calls.write(" ".join(sys.argv[1:]) + chr(10))
    subprocess.run([sys.executable, "-m", "venv", given.prefix], check=True)
    os.mkdir(given.prefix + "/conda-meta")
"""
)
