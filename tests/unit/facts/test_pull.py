"""Whether a host is in pull mode, as a run from outside has to know."""

from ansible.module_utils.verl_probes import pull

from .recorded import RecordedHost


def hold(monkeypatch, there):
    monkeypatch.delenv("VERL_PROVISION_PULL", raising=False)
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "exists", lambda path: there and path.endswith("/verl-provision/pull/hold"))
    return pull.probe(host)


def test_only_a_host_in_pull_mode_has_the_fact(monkeypatch):
    assert hold(monkeypatch, there=False) == {}
    assert hold(monkeypatch, there=True) == {"pull": {"hold": "/var/lib/verl-provision/pull/hold"}}


def test_a_pull_run_does_not_keep_itself_away(monkeypatch):
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "exists", lambda path: True)
    monkeypatch.setenv("VERL_PROVISION_PULL", "1")
    assert pull.probe(host) == {}
