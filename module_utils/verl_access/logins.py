"""Logins by registry, as `dict2items` makes a list of them: so that only passwords are masked in a module's output."""

ARGUMENT = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "key": {"type": "str", "required": True, "no_log": False},
        "value": {
            "type": "dict",
            "required": True,
            "options": {
                "username": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
                "realm": {"type": "str", "default": ""},
            },
        },
    },
}
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def login_for(registry, logins):
    """Return {username, password} for a registry, or None."""
    same = HUB if registry in HUB else (registry,)
    return next((item["value"] for item in logins if item["key"] in same), None)
