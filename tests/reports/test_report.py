"""The Pareto front, its CSV and the closing table."""

import csv
import dataclasses
import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg

from nas_tf.ranking import pareto_front, ranked
from nas_tf.reports import search as report
from nas_tf.reports.device import device_name
from nas_tf.trial import Cost, Latency, Measurement, Trial


@dataclasses.dataclass(frozen=True)
class NamedSpace:
    def decode(self, tokens):
        return f"network{tokens[0]}"


def trial(number, accuracy, latency_ms, reward, note=""):
    cost = Cost(1_000_000 * number, 10_000_000, 1, latency=Latency.estimate(latency_ms))
    return Trial(number, (number,), note, Measurement(accuracy, cost, 1.0), reward)


TRIALS = [
    trial(1, 0.50, 5.0, 0.50, "untrained"),
    trial(2, 0.60, 6.0, 0.59),
    trial(3, 0.55, 7.0, 0.52),  # beaten by 2
    trial(4, 0.60, 5.5, 0.60),  # beats 2
    Trial(5, (5,), reward=0.0, infeasible="diverged"),
    Trial(6, (6,), error="lost"),
    Trial(7, (7,)),
]


def test_the_front_holds_what_nothing_beats():
    assert [each.id for each in pareto_front(TRIALS)] == [1, 4]


def test_only_finished_trials_count_best_first_each_network_once():
    again = dataclasses.replace(TRIALS[3], id=8)
    assert [each.id for each in ranked([*TRIALS, again])] == [4, 2, 3, 1]


def test_the_csv_is_the_front(tmp_path):
    report.write_pareto_csv(tmp_path / "pareto.csv", TRIALS, NamedSpace())
    rows = list(csv.DictReader((tmp_path / "pareto.csv").open()))
    assert [(row["trial"], row["accuracy"], row["latency_ms"], row["architecture"]) for row in rows] == [
        ("1", "0.5000", "5.0000", "network1"),
        ("4", "0.6000", "5.5000", "network4"),
    ]


def test_reports_say_where_latencies_come_from(tmp_path):
    emulator = {"device": "emulator", "model": "sdk_gphone64", "note": "emulator: not a phone's latency"}
    name = device_name(emulator)
    assert name == "emulator sdk_gphone64 (emulator: not a phone's latency)"
    assert device_name({"device": "table", "made_on": {"device": "android", "model": "Pixel 1"}}) == (
        "table of android Pixel 1"
    )
    report.write_pareto_csv(tmp_path / "pareto.csv", TRIALS, NamedSpace(), device=name)
    assert {row["latency_from"] for row in csv.DictReader((tmp_path / "pareto.csv").open())} == {name}
    text = report.closing_table(TRIALS, NamedSpace(), target=6.0, cost="latency_ms", published={}, device=name)
    assert f"latencies from: {name}" in text


def test_the_table_tells_first_samples_from_the_rest():
    text = report.closing_table(
        TRIALS, NamedSpace(), target=6.0, cost="latency_ms", published={"a": TRIALS[0].measurement.cost}
    )
    assert "7 trials: 4 done, 1 infeasible, 1 failed, 1 running" in text
    assert "mean reward of the 1 random first samples: 0.5000" in text
    assert "mean reward of the 4 trials after them:     0.4275" in text  # (0.59 + 0.52 + 0.60 + 0) / 4
    assert "top 1      4   0.6000" in text and "target: 6.00 ms" in text and "a here: 5.00 ms" in text


def test_names_of_published_networks_are_readable(tmp_path, monkeypatch):
    """Also where networks cost nearly the same, as MnasNet-A1 and MobileNetV2 do on a computer."""
    figures = []
    monkeypatch.setattr(report._picture, "write", lambda path, figure: figures.append(figure))
    published = {
        name: trial(1, 1.0, latency_ms, 1.0).measurement.cost
        for name, latency_ms in (("mobilenet_v2", 5.02), ("mnasnet_a1", 5.0), ("nasnet_mobile", 5.04), ("b1", 6.5))
    }
    report.draw_pareto(tmp_path / "p.png", TRIALS, cost="latency_ms", target=5.2, published=published, title="t")
    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_picture_is_drawn_even_of_one_trial(tmp_path):
    for trials in (TRIALS, TRIALS[:1]):
        published = {
            "mobilenet_v2": TRIALS[1].measurement.cost,
            "nasnet_mobile": trial(9, 1.0, 40.0, 1.0).measurement.cost,
        }
        report.draw_pareto(tmp_path / "p.png", trials, cost="latency_ms", target=5.2, published=published, title="t")
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
