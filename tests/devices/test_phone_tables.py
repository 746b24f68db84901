"""Latency tables made with a phone, and checked on it and on another."""

import numpy as np
import pytest
from phone import Phone
from phone.meter import QUICK
from support import script
from test_latency_table import random_networks

from nas_tf.apps import table as app
from nas_tf.devices.table import LatencyTable
from nas_tf.latency_tables import builder, checking, composition
from nas_tf.plugins import Part
from nas_tf.reports.latency_table import heading, verdict_text
from nas_tf.trial import UserError
from nasnet_tf.spaces import nasnet

SPACE = Part("nasnet_tf.spaces", "nasnet", {"blocks": 1, "operations": ("identity", "conv_1x1")})
SCALE = nasnet.Scale(16, 10, 1, 4, "cifar")
THOROUGHNESS = builder.Thoroughness(num_calibration=10, num_validation=2, passes=2, num_workers=1)
QUICKER = {**QUICK, "num_runs": 20}


@pytest.mark.real
def test_a_table_of_a_phone_is_checked_on_it_and_on_a_slower_one(environment, binary, tmp_path):
    """int8 files: their latencies differ from float32's, and a search for float32 refuses the table."""
    path = tmp_path / "phone.json"
    with Phone(tmp_path / "one", tool="litert") as one, Phone(tmp_path / "two", tool="litert", slower=8) as two:
        serials = [environment.connect(each) for each in (one, two)]
        parts = [
            Part("nas_tf.devices", "android", {**QUICKER, "serials": (each,), "benchmark_binary": binary})
            for each in serials
        ]
        smallest = Part("nasnet_tf.spaces", "nasnet", {"blocks": 1, "operations": ("identity",)})
        plan = builder.TablePlan(smallest, SCALE, parts[0], THOROUGHNESS, "int8")
        made = builder.build(plan, tmp_path / "timings", lambda line: None)
        made.write(path)
        table, settings = (
            LatencyTable.read(path),
            app.TableSettings(check=str(path), device="android", check_networks=3, check_percent=60.0),
        )
        said = []
        for part, holds in zip(parts, (True, False)):
            assert app.check_table(settings, {"android": part.settings}, said.append) == holds
    assert "The table holds here" in said[0] and "The table does not hold here" in said[1]
    assert min(table.units.values()) >= 0
    words = heading(table)
    for part_of_it in (
        "android Google Pixel 2 XL",
        "benchmark_model the user's own",
        "1 thread; cpu; int8 files",
        "% off on 2",
    ):
        assert part_of_it in words, words
    assert one.serial not in path.read_text()  # a table that is shared tells no serial number


def test_a_table_is_of_files_of_one_type(tmp_path):
    path = tmp_path / "int8.json"
    units = dict.fromkeys((unit.name for unit in SPACE.space.all_units(SCALE)), 0.1)
    facts = {"number_type": "int8", "space_settings": {"blocks": 1, "operations": ["identity", "conv_1x1"]}}
    LatencyTable("nasnet", SPACE.space.latency_scale(SCALE), {"device": "x"}, 1.0, units, facts).write(path)
    process = script(
        *("nasnet-search", f"--run_dir={tmp_path / 'run'}", "--device=table", f"--table={path}", "--nasnet_blocks=1"),
        *("--nasnet_operations=identity,conv_1x1", "--deploy_stem=cifar", "--deploy_image_size=16", "--deploy_cells=1"),
        *("--deploy_filters=4", "--target_latency_ms=2", "--reward=soft"),
    )
    assert process.returncode == 2
    assert "--deploy_number_type=float32 needs a device that times files, or a table of such files" in process.stderr
    with pytest.raises(UserError, match="Expected a --device that times files"):
        app.check_table(app.TableSettings(check=str(path), device="table"), {"table": {"file": str(path)}})


def test_no_unit_costs_less_than_nothing():
    """Timings with noise, of kinds that stand for little, which plain least squares gives negative factors."""
    rng = np.random.default_rng(0)
    names = [unit.name for unit in SPACE.space.all_units(SCALE)]
    kinds = {name: name.split("@")[0] for name in names}
    truth = {name: float(rng.uniform(0.01, 1.0)) for name in names}
    networks = random_networks(SPACE.space, 12)
    counts = [builder._count_units(SPACE.space, each, SCALE) for each in networks]
    for _ in range(5):
        timings = {name: (ms * float(rng.lognormal(0, 0.5)), float(rng.uniform(0, 1))) for name, ms in truth.items()}
        measured = [sum(n * truth[name] for name, n in each.items()) * float(rng.lognormal(0, 0.02)) for each in counts]
        model = composition.fit(kinds, timings, counts, measured)
        assert min(model.units.values()) >= 0 and model.factors["ms_per_unit"] >= 0
    exact = {name: (ms, 0.0) for name, ms in truth.items()}
    measured = [sum(n * truth[name] for name, n in each.items()) for each in counts]
    found = composition.fit(kinds, exact, counts, measured)
    assert found.units == pytest.approx(truth, rel=1e-3, abs=1e-6)


def test_a_verdict_says_how_far_a_device_is_off():
    rows = [(f"network {i}", 1.0 + i, (1.0 + i) * factor) for i, factor in enumerate((1.4, 1.5, 1.6))]
    verdict = checking.Verdict(rows, 5.0)
    assert not verdict.holds and verdict.rank_correlation == pytest.approx(1.0)
    assert verdict.error_percent == pytest.approx(100 * np.mean([0.4 / 1.4, 0.5 / 1.5, 0.6 / 1.6]))
    table = LatencyTable("nasnet", {}, {"device": "x"}, 0.0, {})
    text = verdict_text(table, verdict)
    assert "does not hold here" in text and "take 1.50 times as long as it says (1.40 to 1.60)" in text
    assert "x; cpu; float32 files; date not told; its error is not told" in text
    assert checking.Verdict([(name, ms, ms) for name, ms, _ in rows], 5.0).holds


def test_a_shipped_table_says_what_it_is_of():
    assert "its error is not told" in heading(LatencyTable.read("pixel1"))
