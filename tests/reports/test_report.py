"""The Pareto front, its CSV and the closing table."""

import csv
import dataclasses
import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nas_tf.accuracy import Chance
from nas_tf.networks.description import Accuracies, FileRecord, NetworkDescription
from nas_tf.ranking import pareto_front
from nas_tf.reports import comparison, files
from nas_tf.reports import search as report
from nas_tf.reports import training as training_report
from nas_tf.reports.device import device_name
from nas_tf.rewards import Goal
from nas_tf.trial import Cost, Latency, Measurement, Trial


@dataclasses.dataclass(frozen=True)
class NamedSpace:
    def decode(self, tokens):
        return f"network{tokens[0]}"


def trial(number, accuracy, latency_ms, reward, note="", standard_error=None):
    cost = Cost(1_000_000 * number, 10_000_000, 1, latency=Latency.estimate(latency_ms))
    return Trial(number, (number,), note, Measurement(accuracy, cost, 1.0, standard_error), reward)


GOAL = Goal(6.0)


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


def test_the_csv_is_the_front(tmp_path):
    report.write_pareto_csv(tmp_path / "pareto.csv", TRIALS, NamedSpace())
    rows = list(csv.DictReader((tmp_path / "pareto.csv").open()))
    assert [(row["trial"], row["accuracy"], row["latency_ms"], row["architecture"]) for row in rows] == [
        ("1", "0.5000", "5", "network1"),
        ("4", "0.6000", "5.5", "network4"),
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
    text = report.closing_table(TRIALS, NamedSpace(), goal=GOAL, published={}, device=name)
    assert f"latencies from: {name}" in text


def test_the_table_tells_first_samples_from_the_rest():
    text = report.closing_table(TRIALS, NamedSpace(), goal=GOAL, published={"a": TRIALS[0].measurement.cost})
    assert "7 trials: 4 done, 1 infeasible, 1 failed, 1 running" in text
    assert "mean reward of the 1 random first samples: 0.5000" in text
    assert "mean reward of the 4 trials after them:     0.4275" in text  # (0.59 + 0.52 + 0.60 + 0) / 4
    assert "top 1      4          60.0       5.500" in text
    assert "target: 6.000 ms" in text and "a here: 5.000 ms, 1.000 M parameters, 10.00 M multiply-adds" in text


def test_names_of_published_networks_are_readable(tmp_path, monkeypatch):
    """Also where networks cost nearly the same, as MnasNet-A1 and MobileNetV2 do on a computer."""
    figures = []
    monkeypatch.setattr(report._picture, "write", lambda path, figure: figures.append(figure))
    published = {
        name: trial(1, 1.0, latency_ms, 1.0).measurement.cost
        for name, latency_ms in (("mobilenet_v2", 5.02), ("mnasnet_a1", 5.0), ("nasnet_mobile", 5.04), ("b1", 6.5))
    }
    report.draw_pareto(tmp_path / "p.png", TRIALS, goal=Goal(5.2), published=published, title="t")
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
        report.draw_pareto(tmp_path / "p.png", trials, goal=Goal(5.2), published=published, title="t")
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def table(trials, goal=GOAL, chance=None, published=None):
    return report.closing_table(trials, NamedSpace(), goal=goal, published=published or {}, chance=chance)


def test_every_accuracy_has_its_error_bar_and_what_is_not_apart_from_the_best_is_marked():
    far, near, best = (trial(i, a, 5.0, a, standard_error=0.02) for i, a in ((1, 0.5), (2, 0.57), (3, 0.6)))
    lines = table([far, near, best]).splitlines()
    rows = {line.split()[2]: line for line in lines if line.startswith("top") and ":" not in line}
    assert "60.0 ± 2.0" in rows["3"] and "57.0 ± 2.0" in rows["2"] and "50.0 ± 2.0" in rows["1"]
    assert [number for number, row in rows.items() if row.endswith("≈")] == ["2"]
    assert any(line.startswith("≈: ") for line in lines)


def test_the_table_says_that_no_trial_meets_the_target():
    text = table(TRIALS, Goal(2.0))
    assert "no trial meets the target: top 1 is the cheapest that no other dominates" in text
    assert text.splitlines()[3].startswith("top 1      1") and "over the target" in text.splitlines()[3]
    assert "no trial meets" not in table(TRIALS)


def test_the_table_says_what_is_no_better_than_guessing():
    lines = table(TRIALS, chance=Chance(0.5, 100)).splitlines()
    guessing = [line.split()[2] for line in lines if line.startswith("top") and "guesses" in line]
    assert guessing == ["1", "3"]  # 50 %, and 55 %, which is at the bound; 60 % is beyond it
    assert "guesses: no better than guessing; guessing reaches 50.0 ± 5.0 % of 100 images" in "\n".join(lines)


def test_the_table_prints_the_noise_of_the_run():
    again = dataclasses.replace(TRIALS[3], id=8, measurement=trial(8, 0.64, 5.5, 0.6).measurement)
    assert "from 1 network measured again: ± 2.8 points of accuracy" in table([*TRIALS, again])  # 4 / sqrt 2
    assert "measured again" not in table(TRIALS)


def test_no_zero_milliseconds_and_no_dash_with_a_unit():
    quick = trial(1, 0.5, 0.0004, 0.5)
    unknown = dataclasses.replace(TRIALS[0].measurement.cost, latency=None)
    text = table([quick], Goal(0.0005), published={"a": TRIALS[0].measurement.cost, "b": unknown})
    assert "0.00 ms" not in text and "- ms" not in text and "0.0004" in text and "target: 0.0005000 ms" in text


@pytest.fixture
def figures(monkeypatch):
    drawn = []
    monkeypatch.setattr(report._picture, "write", lambda path, figure, **options: drawn.append(figure))
    return drawn


def boxes_of(figure):
    FigureCanvasAgg(figure).draw()
    return [legend.get_window_extent() for legend in figure.legends], [axes.get_window_extent() for axes in figure.axes]


def test_a_legend_never_hides_a_point(figures):
    """It stands outside of the axes, in every picture of accuracies."""
    chance = Chance(0.1, 100)
    report.draw_pareto("p.png", TRIALS, goal=GOAL, published={}, title="t", chance=chance)
    facts = {"num_examples": {"validation": 100}, "largest_class": {"validation": 0.1}}
    training_report.draw("t.png", history(0.5, 0.6), "t", facts)
    rows = [row("trial 1", "ships", 0.6, 5.0), row("trial 2", "candidate", 0.5, 4.0)]
    comparison._draw("c.png", rows, "host", facts)
    files.draw_files("f.png", [record("float32", 0.6, 5.0), record("int8", 0.55, 3.0)], "t")
    assert len(figures) == 4
    for figure in figures:
        legends, panels = boxes_of(figure)
        assert len(legends) == 1 and not any(axes.get_legend() for axes in figure.axes)
        assert not any(legend.overlaps(panel) for legend in legends for panel in panels)


def test_the_colour_bar_names_whole_trials(figures):
    for last in (1, 2, 20):
        trials = [dataclasses.replace(TRIALS[0], id=number, tokens=(number,)) for number in (1, last)]
        report.draw_pareto("p.png", trials, goal=GOAL, published={}, title="t")
        ticks = figures[-1].axes[1].get_yticks()
        assert len(ticks) and all(tick == round(tick) for tick in ticks)


def test_chance_is_a_line(figures):
    chance, facts = Chance(0.5, 100), {"num_examples": {"validation": 100}, "largest_class": {"validation": 0.5}}
    report.draw_pareto("p.png", TRIALS, goal=GOAL, published={}, title="t", chance=chance)
    training_report.draw("t.png", history(0.5, 0.6), "t", facts)
    comparison._draw("c.png", [row("trial 1", "ships", 0.6, 5.0)], "host", facts)
    files.draw_files("f.png", [record("float32", 0.6, 5.0)], "t", chance)
    assert len(figures) == 4
    for figure in figures:
        assert "guessing: 50.0 %" in [text.get_text() for text in figure.legends[0].get_texts()]
        low, high = next(axes for axes in figure.axes if "accuracy" in axes.get_ylabel()).get_ylim()
        assert low < 50 < high
    # Far below all networks that ship, it would press them together: the legend says it.
    comparison._draw(
        "c.png", [row("trial 1", "ships", 0.98, 5.0), row("trial 2", "candidate", 0.94, 5.0)], "host", facts
    )
    assert "guessing: 50.0 %, below the axis" in [text.get_text() for text in figures[-1].legends[0].get_texts()]
    assert figures[-1].axes[0].get_ylim()[0] > 80


def test_an_axis_of_equal_values_has_a_sane_span(figures):
    """No ticks such as 1e-7+1.0333333e1."""
    equal = [trial(i, 0.5 + 1e-9 * i, 10.333333 + 1e-9 * i, 0.5) for i in range(1, 5)]
    report.draw_pareto("p.png", equal, goal=Goal(10.333333), published={}, title="t")
    training_report.draw("t.png", history(0.5, 0.5), "t", {})
    comparison._draw("c.png", [row("a", "ships", 0.5, 10.333333), row("b", "candidate", 0.5, 10.333333)], "host", {})
    files.draw_files("f.png", [record("float32", 0.5, 10.333333), record("int8", 0.5, 10.333334)], "t")
    assert len(figures) == 4
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            low, high = axes.get_ylim()
            assert high - low > 0.05 * abs(high)
            assert axes.yaxis.get_offset_text().get_text() == axes.xaxis.get_offset_text().get_text() == ""


def test_units_are_the_same_in_text_and_axis(figures):
    goal = Goal(20_000_000.0, "mult_adds")
    report.draw_pareto("p.png", TRIALS, goal=goal, published={"a": TRIALS[0].measurement.cost}, title="t")
    axes = figures[0].axes[0]
    assert axes.get_xlabel().endswith("multiply-adds (M)") and 20 < axes.get_xlim()[1] < 30
    assert "target: 20.00 M multiply-adds" in [text.get_text() for text in figures[0].legends[0].get_texts()]


def history(*accuracies):
    return [
        {"epoch": i, "loss": 1.5, "accuracy": each, "validation_accuracy": each} for i, each in enumerate(accuracies, 1)
    ]


def row(name, role, accuracy, latency_ms):
    network = NetworkDescription(
        name, {}, (), {}, accuracy=Accuracies(validation=accuracy), latency=Latency.estimate(latency_ms)
    )
    return comparison.Row(name, role, network)


def record(number_type, accuracy, latency_ms):
    return FileRecord(
        f"{number_type}.tflite", number_type, 1000, "2026", accuracy, Latency.estimate(latency_ms), num_validation=100
    )


def test_a_baseline_of_another_latency_is_named():
    facts = {"num_examples": {"validation": 400, "test": 400}, "largest_class": {"validation": 0.6}}
    near, far = row("mobilenet", "baseline", 0.61, 10.4), row("mnasnet_a1", "baseline", 0.9, 9.0)
    text = comparison.text([row("trial 1", "ships", 0.62, 10.0), near, far], "host", facts)
    assert "mnasnet_a1 is not of equal latency: it takes 10.0 % less than the network that ships" in text
    assert "mobilenet is not" not in text
    # Error bars, what is not apart from the first row, and what guesses.
    lines = {line.split()[0]: line for line in text.splitlines() if "±" in line}
    assert "62.0 ± 2.4" in lines["trial"] and lines["trial"].endswith("guesses")
    assert lines["mobilenet"].endswith("≈ guesses") and lines["mnasnet_a1"].split()[-1] == "-"
