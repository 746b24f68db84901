"""The page of a run: what it says, and that it works in a browser, without a network."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from nas_tf.accuracy import Chance
from nas_tf.networks import answers
from nas_tf.reports import page
from nas_tf.reports.page import _plots
from nas_tf.rewards import Goal
from nas_tf.trial import Cost, Latency, Measurement, Trial

EVIL = "</script><script>window.evil = 1</script>"
PIXELS = np.zeros((2, 4, 4, 3), np.uint8)


def made_run(num_trials, name="runs/flowers"):
    """A `Run` of trials from a seed: every 10th infeasible, every 15th failed; texts try to break out of the page."""
    rng, trials = np.random.default_rng(0), []
    for number in range(1, num_trials + 1):
        note = "random" if number <= 10 else f"evolved {EVIL}"
        trial = Trial(number, (number % 3, number), note)
        if number % 15 == 0:
            trial = Trial(number, (0, number), note, error=f"Traceback\nEvaluationError: the phone is gone {EVIL}")
        elif number % 10 == 0:
            trial = Trial(number, (0, number), note, infeasible="The loss is nan", reward=0.0)
        else:
            accuracy, latency_ms = rng.uniform(0.3, 0.8), rng.uniform(1, 9)
            cost = Cost(10**6, 10**7, 10, latency=Latency.estimate(latency_ms))
            measured = Measurement(accuracy, cost, 5.0, 0.02)
            trial = Trial(number, (number % 3, number), note, measured, accuracy - 0.01 * latency_ms)
        trials.append(trial)
    outlines = {trial.id: ["Conv 3x3, 32 filters", f"{trial.tokens[0]} x MBConv6 5x5"] * 4 for trial in trials}
    return page.Run(
        name=name,
        trials=trials,
        outlines=outlines,
        goal=Goal(4.0),
        published={"mobilenet_v2": Cost(2 * 10**6, 3 * 10**7, 10, latency=Latency.estimate(5.0))},
        device="host EVIL & Sons",
        chance=Chance(0.2, 500),
        settings={"data_dir": EVIL, "num_trials": num_trials},
        versions={"keras": "3.13"},
        data=[("source", EVIL)],
        spent={"training and judging": 300.0, "tracing, converting, timing": 100.0},
        hours=0.5,
    )


def shipped():
    confusion = np.array([[8, 2], [1, 9]])
    return page.Shipped(
        title=f"trial 3 {EVIL}",
        why="the most accurate",
        files=[("model.tflite", "float32", "85.0 ± 8.0", "1.500 ms", "1,234")],
        class_names=(EVIL, "dog"),
        confusion=confusion,
        mistakes=[(EVIL, "dog", 0.93, b"\x89PNG")],
        race=f"race {EVIL}",
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    import dataclasses

    path = tmp_path_factory.mktemp("page") / "report.html"
    page.write_page(path, [dataclasses.replace(made_run(120), network=shipped())])
    return path


def test_what_it_says(written):
    text = written.read_text()
    best = max(
        (t for t in made_run(120).trials if t.measurement and t.measurement.cost.latency.latency_ms <= 4.08),
        key=lambda t: t.measurement.accuracy,
    )
    assert f"The search picks trial {best.id}" in text and "within the target, 4.000 ms" in text
    for words in (
        "120",
        "taken for dog (93 %)",
        "85.0 ± 8.0",
        "Measured in this run",
        "Quoted",
        "Never run here",
        "5.0 min",
    ):
        assert words in text, words
    assert EVIL not in text and "window.evil = 1</script>" not in text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert len(data["trials"]) == 120 and sorted(data["words"])[0].endswith("MBConv6 5x5")


def test_what_ships_comes_first(tmp_path):
    """The race may ship another network than the search picked: the page begins with it, and draws it."""
    import dataclasses

    lead, figures = "What ships: trial 2, 85.0 ± 8.0 %.", [("trial 2", "85.0 ± 8.0 %", "validation accuracy")]
    network = dataclasses.replace(shipped(), trial=2, lead=lead, figures=figures)
    run = dataclasses.replace(made_run(20), network=network)
    page.write_page(tmp_path / "page.html", [run])
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"What ships: trial 2, 85.0 ± 8.0 %\. The search picks trial (?!2:)", text)
    assert '"ships: trial 2"' in text and "The network that ships" in text and "<span>trial 2</span>" in text
    assert f"<li>{run.outlines[2][1]}</li>" in text


@pytest.mark.parametrize("trials", [[], [Trial(1, (0,), error="the phone is gone")]])
def test_a_run_without_results_has_an_honest_page(tmp_path, trials):
    import dataclasses

    page.write_page(tmp_path / "page.html", [dataclasses.replace(made_run(0), trials=trials)])
    text = (tmp_path / "page.html").read_text()
    assert ("No trial has succeeded yet" if trials else "Nothing has been tried yet") in text
    assert ("The table below says why" if trials else "Nothing was searched") in text and (
        "the phone is gone" in text
    ) == bool(trials)


def test_three_thousand_trials_are_a_small_page(tmp_path):
    page.write_page(tmp_path / "page.html", [made_run(3000)])
    assert (tmp_path / "page.html").stat().st_size <= 4 * 10**6


def test_what_random_sampling_would_have_reached():
    rewards, counts = np.array([0.1, 0.5, 0.3, 0.4]), np.array([1, 2, 7])
    drawn = np.random.default_rng(0).choice(rewards, (200_000, 7))
    expected = [drawn[:, :count].max(axis=1).mean() for count in counts]
    np.testing.assert_allclose(_plots.best_of_random(rewards, counts), expected, atol=2e-3)


def test_answers_are_counted_and_the_worst_mistakes_kept(tmp_path):
    tally = answers.Tally(3)
    labels, sure = np.array([0, 1, 2] * 20), np.linspace(0.4, 0.9, 60)
    probabilities = np.zeros((60, 3))
    probabilities[np.arange(60), (labels + (np.arange(60) % 2)) % 3] = sure  # every other answer is wrong
    images = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 200, 200, 3), np.uint8)
    for first in range(0, 60, 7):
        some = slice(first, first + 7)
        tally.add(images[some], labels[some], probabilities[some])
    answers.write(tmp_path, tally.answers("abc"))
    found = answers.read(tmp_path, 3, "abc")
    assert found.confusion.tolist() == [[10, 10, 0], [0, 10, 10], [10, 0, 10]]
    assert found.images.shape == (12, 100, 100, 3) and found.images[0, 0, 0, 0] == 59
    assert list(found.wrong) == list((found.labels + 1) % 3) and found.probabilities[0] == np.float32(0.9)
    assert answers.read(tmp_path, 4, "abc") is None and answers.read(tmp_path / "none", 3, "abc") is None
    assert answers.read(tmp_path, 3, "another") is None
    (tmp_path / "answers.npz").write_bytes(b"damaged")
    assert answers.read(tmp_path, 3, "abc") is None


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        why = "no browser: chromium and chromedriver (Debian's chromium, chromium-driver) are not on the path"
        assert os.environ.get("NAS_TF_BROWSER") != "required", why
        pytest.skip(why)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1200,900", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


@pytest.mark.real
def test_in_a_browser(browser, written):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def css(selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def column(number):
        return [row.text for row in css(f"#table tbody td:nth-child({number})")]

    browser.get(written.as_uri())
    WebDriverWait(browser, 30).until(lambda _: css("#front .bk-Figure") and len(column(1)) == 50)

    # Point at the star, the picked trial, in the canvas: its network is shown beside it.
    places = browser.execute_script(
        "const view = Object.values(Bokeh.index)[0]; const find = v => v.model.type === 'Figure' ? v :"
        " [...(v.child_views || [])].map(find).find(Boolean); const figure = find(view);"
        " const star = figure.model.renderers.find(r => r.glyph.type === 'Scatter' && r.glyph.marker.value === 'star');"
        " const {x, y} = star.data_source.data; const frame = figure.frame || figure.plot_view?.frame;"
        " const box = figure.el.getBoundingClientRect();"
        " return [box.left + frame.x_scale.compute(x[0]), box.top + frame.y_scale.compute(y[0])]"
    )
    action = ActionChains(browser)
    action.w3c_actions.pointer_action.move_to_location(*map(round, places))
    action.perform()
    picked = re.search(r"picks trial (\d+)", written.read_text())[1]
    WebDriverWait(browser, 10).until(lambda _: f"trial {picked}" in css("#shown")[0].text)
    assert len(css("#shown .stack li")) == 8

    # Sort by accuracy, then the other way; what is not known stays last.
    title = css('#table th[data-key="3"]')[0]
    title.click()
    falling = [float(text.split()[0]) for text in column(3) if text != "-"]
    assert falling == sorted(falling, reverse=True) and title.get_attribute("aria-sort") == "descending"
    title.click()
    rising = [float(text.split()[0]) for text in column(3) if text != "-"]
    assert rising == sorted(rising) and rising[0] < falling[-1] + 1e-9

    # Filter by state and by words.
    css("#state option:nth-child(3)")[0].click()
    assert set(column(2)) == {"infeasible"} and "The loss is nan" in column(8)[0]
    css("#state option:nth-child(1)")[0].click()
    css("#words")[0].send_keys("phone gone")
    assert set(column(2)) == {"failed"} and css("#found")[0].text == "8 of 120"
    css("#table tbody tr")[1].click()
    assert "the phone is gone" in css("#shown")[0].text and len(css("#table tr.chosen")) == 1
    css("#words")[0].clear()
    css("#words")[0].send_keys(" ")
    css("#after")[0].click()
    assert css("#page")[0].text == "page 2 of 3"

    # On a narrow screen nothing is cut off, and tables scroll by themselves.
    browser.set_window_size(500, 800)
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(fits))
    light = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    dark = {"media": "", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert (
        light
        == "rgb(255, 255, 255)"
        != browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    )
    assert len(browser.print_page()) > 10_000

    # Nothing was asked of a network, nothing failed, and no text of the run became a program.
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return window.evil") is None
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
