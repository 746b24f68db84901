"""What the folder of a run tells, for its page: read from records and config.json, of which nothing is run."""

import io
import pathlib
import tempfile

from nas_tf.accuracy import chance_of, num_examples_of
from nas_tf.family import space_from_file
from nas_tf.files import read_json
from nas_tf.networks import answers
from nas_tf.networks.folder import read_description, read_records, recorded_network
from nas_tf.ranking import ranked
from nas_tf.reports import page, race
from nas_tf.reports.device import device_name
from nas_tf.reports.network import name_of, reached
from nas_tf.reports.numbers import milliseconds, number, share
from nas_tf.rewards import Goal
from nas_tf.search.records import Records
from nas_tf.search.request import objective_of
from nas_tf.search.run_folder import RunFolder
from nas_tf.trial import UserError

PAGE = "report.html"
_KINDS = {"accuracy": "training and judging", "latency": "tracing, converting, timing", "size": "counting sizes"}


def write_page(path, run_dirs, own_space="", facts=None):
    """Writes the page of a run, or of several compared.

    Args:
        path: of the .html file.
        run_dirs: list of run folders.
        own_space: the user's own file of a search space, which they may name; no other is run.
        facts: `nas_tf.datasets.Dataset.facts()` of the images of the first run, where they are known.

    Raises:
        UserError: a folder is no run's, or is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as pictures:
        runs = [
            _run(run_dir, own_space, facts if number == 0 else None, pathlib.Path(pictures))
            for number, run_dir in enumerate(run_dirs)
        ]
        page.write_page(path, runs)


def _run(run_dir, own_space, facts, pictures):
    """Returns the `nas_tf.reports.page.Run` of a folder. Pictures are drawn into a folder that goes again."""
    folder = RunFolder(run_dir)
    config = folder.read()
    records = Records(folder.records, read_only=True)
    try:
        trials, published, hours = records.trials(), records.published(), records.hours()
        spent = records.spent()
    finally:
        records.close()
    network, known = _shipped(folder.path)
    facts = facts or known
    goal = _goal(objective_of(config["flags"]), published, bool(config["device"]))
    best = next((trial for trial in trials if network and trial.id == network.trial), None)
    best = best or next(iter(ranked(trials, goal)), None)
    outlines, drawn = _outlines(config, folder, trials, best, own_space, pictures)
    identity = config["measured_under"]
    data = facts or {name[5:]: value for name, value in identity.items() if name.startswith("data ")}
    return page.Run(
        name=str(run_dir),
        trials=trials,
        outlines=outlines,
        goal=goal,
        published=published,
        device=device_name(config["device"]) if config["device"] else "",
        chance=chance_of(facts) if facts else None,
        settings={name: value for name, value in config["flags"].items() if value not in (None, "", False)},
        versions=config["versions"],
        data=[(name, value) for name, value in data.items() if not isinstance(value, dict)]
        + [(f"images, {split}", count) for split, count in (data.get("num_examples") or {}).items()],
        spent={_KINDS[kind]: seconds for kind, seconds in spent.items()},
        stages=_stages(folder.path),
        hours=hours,
        pictures=drawn,
        network=network,
    )


def _stages(run_dir):
    """Returns a dict from stage to seconds, of a run that nas-make made; else an empty one."""
    kept = read_json(run_dir / "make" / "clock.json")
    stages = kept.get("stages") if isinstance(kept, dict) else None
    return stages if isinstance(stages, dict) and all(isinstance(each, float) for each in stages.values()) else {}


def _goal(objective, published, has_device):
    """Returns the `nas_tf.rewards.Goal` of a run, without a target as long as the network that is one was not timed."""
    try:
        return objective.goal(objective.resolve(published), has_device)
    except UserError:
        return Goal(None, "latency_ms" if has_device else "mult_adds")


def _shipped(run_dir):
    """Returns `(nas_tf.reports.page.Shipped, facts of its images)`, of what nas-ship made before what the search did.

    None twice if there is none, or if its folder is damaged, as a kill may leave it.
    """
    for folder in (run_dir / "ship" / "network", run_dir / "best"):
        try:
            network = read_description(folder)
            name = recorded_network(folder)
            records = read_records(folder, name).values() if name else ()
        except UserError:
            continue
        found = answers.read(folder, len(network.class_names), name)
        shipped = page.Shipped(
            title=f"{folder}: {name_of(network)}, {network.weights}",
            trial=network.trial if folder.name == "network" else None,
            lead=f"What ships: {name_of(network)}, {reached(network)}." if folder.name == "network" else "",
            figures=_figures(network),
            why=network.choice or "",
            files=[
                (
                    record.file if record.failure is None else f"{record.file} (failed: {record.failure})",
                    record.number_type,
                    share(record.validation_accuracy, record.num_validation),
                    milliseconds(record.latency_ms) + _ran_on(record),
                    "-" if record.bytes is None else f"{record.bytes:,}",
                )
                for record in records
            ],
            class_names=network.class_names,
            confusion=found and found.confusion,
            mistakes=_mistakes(found, network.class_names) if found else [],
            race=race.read_text(folder.parent / "race.csv") if folder.name == "network" else "",
        )
        return shipped, network.dataset
    return None, None


def _ran_on(record):
    if not record.latency:
        return ""
    words = [record.latency.ran_on, *(f"by {name}: {found}" for name, found in record.latency.beside.items())]
    return "".join(f" ({each})" for each in words if each)


def _figures(network):
    """Returns what `nas_tf.reports.page.Shipped.figures` holds."""
    reached_, facts = network.accuracy, network.dataset or {}
    latency = network.latency_judged or network.latency
    validation, test = (
        f"{share(value, num_examples_of(facts, split))} %"
        for split, value in (("validation", reached_.validation), ("test", reached_.test))
    )
    size, madds = number(network.num_params, ".2f", 1e-6), number(network.mult_adds, ".1f", 1e-6)
    return [
        (name_of(network), validation, f"validation accuracy; test {test}"),
        ("its latency", milliseconds(latency and latency.latency_ms), "what ships"),
        ("its size", f"{size} M", f"parameters, {madds} M multiply-adds"),
    ]


def _mistakes(found, names):
    """Returns what `nas_tf.reports.page.Shipped.mistakes` holds."""
    from PIL import Image

    made = []
    for label, wrong, sure, image in zip(found.labels, found.wrong, found.probabilities, found.images):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        made.append((names[label], names[wrong], float(sure), content.getvalue()))
    return made


def _outlines(config, folder, trials, best, own_space, pictures):
    """Returns what each trial's architecture is, stage by stage, and pictures of the `best` trial's.

    Where the space is a file of the user's own that this command does not name, they are the answers alone.
    """
    decisions = config["space"].get("decisions") or {}
    try:
        space = space_from_file(config["space"].get("part"), folder.config, own_space).space
        outlines = {trial.id: space.outline(space.decode(trial.tokens)) for trial in trials}
    except (UserError, ValueError):
        return {
            trial.id: [f"{name}: {choices[token]}" for (name, choices), token in zip(decisions.items(), trial.tokens)]
            for trial in trials
        }, []
    drawn = space.draw(space.decode(best.tokens), pictures) if best else []
    return outlines, [(pathlib.Path(path).stem.replace("_", " "), path) for path in drawn if path.suffix == ".svg"]
