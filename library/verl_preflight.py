#!/usr/bin/python
"""Module verl_preflight: does everything exist that a plan will fetch?"""

DOCUMENTATION = r"""
module: verl_preflight
short_description: Asks whether everything exists that a plan will fetch
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Asks registries for manifests, repositories for packages and keys, git servers for tags and package
    indexes for versions, all
    at once, from the host that it runs on. Nothing on the host changes.
  - Something that's missing is an answer with C(ok) false, what was found and what to do; the module itself
    doesn't fail.
options:
  requests:
    description:
      - What to ask for. Each has an C(id) and a C(kind), and the kind's own fields.
      - C(manager) has C(name), C(version), C(package) (whether the package index has it), C(index) and C(url).
      - C(registry_manifest) has C(ref), C(digest), C(arch), C(mirrors), C(insecure) (registries that need no TLS) and
        C(known) (only whether this host gets at the digest is asked). C(gpg_key) has C(url) and
        C(fingerprint). C(apt_package) has C(url) (the folder of the Packages file) and C(packages), a list
        of C(name) and C(version), in which C(*) stands for anything. C(git_ref) has C(repo), C(version) and
        C(commit) (what the tag has to be).
        C(pypi) has C(name), C(version), C(indexes) and C(python).
    type: list
    elements: dict
    required: true
  timeout:
    description: Seconds for one request over the network.
    type: int
    default: 20
  attempts:
    description: How often a registry is asked that doesn't answer, or asks for patience.
    type: int
    default: 5
extends_documentation_fragment: [verl_attributes, verl_logins, verl_proxy]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Ask for an image
  verl_preflight:
    requests:
      - id: image
        kind: registry_manifest
        ref: verlai/verl:vllm024.latest
        arch: x86_64
"""

RETURN = r"""
answers:
  description: One per request, in their order.
  type: list
  elements: dict
  returned: always
  sample:
    - id: image
      kind: registry_manifest
      ok: true
      found: manifest sha256:7f3e0d2a91bc
      needed: image verlai/verl:vllm024.latest
      fix: null
      data: {digest: "sha256:7f3e0d2a91bc...", platforms: [linux/amd64]}
"""

from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import logins, proxy
from ansible.module_utils.verl_container import preflight


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "requests": {"type": "list", "elements": "dict", "required": True},
            "registry_logins": logins.ARGUMENT,
            "proxy": proxy.ARGUMENT,
            "timeout": {"type": "int", "default": 20},
            "attempts": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    proxy.use(module)
    requests = module.params["requests"]
    for request in requests:
        if not request.get("id") or request.get("kind") not in preflight.KINDS:
            module.fail_json(
                msg="request {0}: an id and one of these kinds are needed: {1}".format(
                    request, ", ".join(sorted(preflight.KINDS))
                )
            )
    context = {key: module.params[key] for key in ("timeout", "attempts", "registry_logins")}
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda request: preflight.ask(request, context), requests))
    module.exit_json(changed=False, answers=answers, host=preflight.host_name())


if __name__ == "__main__":
    main()
