"""A phone that hangs on a node of a Ray cluster, lost and found again."""

import pytest
from phone.meter import QUICK, given
from worker_support import make_setup

pytest.importorskip("ray")
from search.ray_support import ThreeNodes

from nas_tf.search.evaluation import CostJob
from nas_tf.search.workers import ray
from nas_tf.trial import EvaluationError


@pytest.mark.storm
def test_a_lost_phone_costs_no_network(environment, phone, binary, plain_space, tmp_path):
    serial = environment.connect(phone)
    settings = {**QUICK, "serials": (serial,), "benchmark_binary": binary, "patience_minutes": 0.05}
    setup = make_setup(plain_space, device="android", **settings)
    cluster = ThreeNodes()
    try:
        workers = ray.make(ray.Config(cluster.address), setup, log_path=tmp_path / "workers.log")

        def timed(tokens):
            workers.submit(tokens, CostJob(tokens))
            return workers.wait(120)

        first = timed((0, 0, 0)).value.latency
        phone.unplug()
        failure = timed((1, 0, 0)).failure
        phone.plug()
        environment.connect(phone)
        again = timed((1, 0, 0)).value.latency
        workers.close()
    finally:
        cluster.close()
    assert type(failure) is EvaluationError and serial in str(failure)
    assert {first.latency_ms, again.latency_ms} <= given(phone)
