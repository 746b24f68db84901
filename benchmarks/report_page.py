"""How long the page of a run of many trials takes: to be made by nas-report, and to open in a browser.

python -m benchmarks.report_page --run_dir=runs/digits --num_trials=3000

Trials of random architectures with made-up figures are added to a copy of a run. Chromium opens the page, if it is
installed with its driver.
"""

import dataclasses
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from nas_tf import flags
from nas_tf.family import space_from_file
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder
from nas_tf.settings import Settings, knob
from nas_tf.trial import Cost, Latency, Measurement, Trial


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    run_dir: str = knob("", "A run, which stays as it is.", required="the folder of a run", path=True)
    num_trials: int = knob(3000, "Trials on the page.", least=1)


def main():
    knobs = flags.read(Knobs)
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        shutil.copytree(knobs.run_dir, run, ignore=shutil.ignore_patterns("judge", "tensorboard", ".lock"))
        _fill(RunFolder(run), knobs.num_trials)
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "nas_tf.apps.report", str(run)], check=True, stdout=subprocess.DEVNULL)
        seconds, page = time.perf_counter() - begin, run / "report.html"
        size = page.stat().st_size / 1e6
        print(f"{knobs.num_trials:,} trials: made in {seconds:.1f} s, with the start of Python; {size:.2f} MB")
        _open(page)


def _fill(folder, num_trials):
    """Adds trials to a run until there are so many."""
    config, rng = folder.read(), np.random.default_rng(0)
    space = space_from_file(config["space"].get("part"), folder.config).space
    records = Records(folder.records)
    for number in range(len(records.trials()) + 1, num_trials + 1):
        tokens = tuple(int(rng.integers(choices)) for choices in space.num_choices)
        cost = Cost(10**6, 10**8, 10**5, latency=Latency.estimate(float(rng.uniform(1, 9))))
        accuracy = float(rng.uniform(0.3, 0.8))
        trial = Trial(number, tokens, "random", Measurement(accuracy, cost, 30.0, 0.01), accuracy)
        records.add_finished(trial, space.decode(tokens), "made up-0", "proxy")
    records.close()


def _open(page):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        print("no browser: chromium and chromedriver are not on the path")
        return
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        begin = time.perf_counter()
        browser.get(page.as_uri())
        WebDriverWait(browser, 60).until(
            lambda _: (
                browser.find_elements(By.CSS_SELECTOR, "#front .bk-Figure")
                and browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")
            )
        )
        print(f"open, with plots and table, after {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
