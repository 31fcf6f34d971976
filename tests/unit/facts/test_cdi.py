"""What is read of CDI specifications."""

import pytest
from ansible.module_utils.verl_probes import toolkit

from .recorded import RecordedHost

YAML = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
- name: {name}
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  mounts:
  - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05
"""
JSON = '{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[{"name":"%s","containerEdits":{}}]}'


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (YAML.format(name="all"), [("580.95.05", True)]),
        (YAML.format(name='"all"'), [("580.95.05", True)]),
        (YAML.format(name="all-of-them"), [("580.95.05", False)]),
        (JSON % "all", [(None, True)]),
        (JSON % "0", [(None, False)]),
        (JSON.replace("nvidia.com/gpu", "amd.com/gpu") % "all", []),
        ("# kind: nvidia.com/gpu\n", []),
        ("kind: nvidia.com/gpu-other\n", []),
    ],
)
def test_a_specification(tmp_path, monkeypatch, content, found):
    host = RecordedHost("h100x8_580")
    path = tmp_path / "nvidia.yaml"
    path.write_text(content)
    monkeypatch.setattr(host, "file", lambda name: name)
    specs = toolkit.gpu_cdi_specs(host, [str(path)])
    assert [(spec["driver"], spec["all"]) for spec in specs] == found
