"""The simulated GPU fleet: real Debian hosts, engines, registry and toolkit, without a GPU (docs/lab.md)."""
