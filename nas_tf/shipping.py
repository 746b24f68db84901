"""From a finished search to what ships: its best networks trained in full, the best of them chosen and exported, and
published networks of equal latency trained the same way beside it. Every step's result is a file; what is there is not
made again."""

import dataclasses
import json
import os
import pathlib
import tempfile

from nas_tf import (
    baselines,
    command,
    comparison,
    complexity,
    families,
    finish,
    model_card,
    report,
    training_report,
    width_match,
)
from nas_tf.devices import Meter
from nas_tf.distribution import Machine
from nas_tf.export import NUMBER_TYPES, to_keras, to_tflite
from nas_tf.files import check_writable, write_file
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.records import Records
from nas_tf.run_folder import RunFolder
from nas_tf.shipped_files import read_json, write_files
from nas_tf.training import Log, evaluate
from nas_tf.trial import DivergedTraining, EvaluationError, Latency, UserError

_FRIENDLY = {"activation": "relu6", "squeeze_excite": False}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The knobs of a chain; the rest is the run's own."""

    top_k: int = knob(5, "Best trials to train in full.")
    recipe: str = knob("cosine", "Recipe of the run's family, as in its train command.")
    epochs: int | None = knob(None, "Epochs; default: the recipe's.")
    batch_size: int | None = knob(None, "Images in a step; default: the recipe's.")
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.")
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.")
    data_dir: str = knob("", "Where the run's images are now; empty: where they were.")
    device: str = knob(
        "", "Device that times the files, with its own flags; empty: the run's as it was, or this machine if that "
        "times none.", folder="nas_tf.devices",
    )  # fmt: skip
    number_types: tuple[str, ...] = knob(NUMBER_TYPES, "Types of the TFLite files.")
    baselines: tuple[str, ...] = knob(
        ("mnasnet_a1", "mobilenet_v2"), "Published networks trained the same way, at the width of equal latency."
    )
    quantization_friendly: bool = knob(
        False, "ReLU6 in place of ReLU and no squeeze-and-excitation, which int8 takes better."
    )
    licence: str = knob(model_card.LICENCE, "Text of the model card's licence section.")
    checkpoint_minutes: float = knob(10.0, "Minutes between checkpoints; there is one after every epoch, too.")
    out_dir: str = knob("", "Folder to write; empty: `ship` in the run's folder.")

    def __post_init__(self):
        for name in ("top_k", "num_samples"):
            least = int(name == "top_k")
            if getattr(self, name) < least:
                raise UserError(f"Expected --{name} of at least {least}. Received: {getattr(self, name)}")
        unknown = sorted(set(self.number_types) - set(NUMBER_TYPES))
        if unknown or not self.number_types:
            raise UserError(f"Expected --number_types of {', '.join(NUMBER_TYPES)}. Received: {', '.join(unknown)}")
        if not self.checkpoint_minutes > 0:
            raise UserError(f"Expected --checkpoint_minutes > 0. Received: {self.checkpoint_minutes}")


def ship(run_dir, settings, machine=None, device_settings=None, say=print):
    """Runs, or goes on with, the chain and gives `nas_tf.comparison.Row`s: the network that ships, the published
    networks, the other candidates.

    Raises:
        UserError: something that the caller has to mend.
        EvaluationError: the world broke, or a file failed; all else is kept, and the same call goes on from there.
    """
    machine = machine or Machine()
    machine.start()
    chain = _Chain(run_dir, settings, machine, device_settings or {}, say)
    try:
        return chain.run()
    finally:
        chain.close()


class _Chain:
    def __init__(self, run_dir, settings, machine, device_settings, say):
        self._settings, self._machine, self._say = settings, machine, say
        self._run = RunFolder(run_dir)
        config = self._run.read()
        name = config["space"]["part"]["name"]
        self._family = families.family_of(name)
        if settings.recipe not in self._family.plans:
            raise UserError(f"Expected --recipe, one of {', '.join(self._family.plans)}. Received: {settings.recipe!r}")
        if machine.distribution == "multi_worker":
            raise UserError("nas-ship runs on one machine. Expected another --distribution than multi_worker")
        changes = {"data_dir": settings.data_dir} if settings.data_dir else {}
        request = command.remade_request(self._family, config["flags"], run_dir=str(run_dir), **changes)
        self._setup, self._objective = request.setup, request.objective
        self._space = self._setup.space.space
        plan = self._family.plans[settings.recipe]
        self._plan = dataclasses.replace(
            plan, recipe=plan.recipe.with_settings(settings, "epochs", "batch_size", "learning_rate")
        )
        self._friendly = _FRIENDLY if settings.quantization_friendly else {}
        self._folder = pathlib.Path(settings.out_dir or self._run.path / "ship")
        self._device_part, self._device = self._choose_device(settings, device_settings)
        self._runs_device = config["device"]
        self._records = Records(self._run.records, read_only=not self._run.records.exists())

    def close(self):
        self._device.close()
        self._records.close()

    def run(self):
        settings, say = self._settings, self._say
        trials = _distinct(report.done(self._records.trials()), self._space)[: settings.top_k]
        if not trials:
            raise UserError(f"{self._run.path} holds no finished trial: there is nothing to ship")
        check_writable(self._folder)
        self._device.check()
        description = json.loads(json.dumps(self._device.describe()))
        ours, theirs = ({key: value for key, value in each.items() if key != "settings"}
                        for each in (description, self._runs_device))  # fmt: skip
        self._is_runs_device = ours == theirs
        say(f"files are timed on {report.device_name(description)}")
        self._check_settings([trial.id for trial in trials])
        import_keras()
        for name in settings.baselines:  # what cannot be built is better known now than after hours
            build, scale_of = self._builder(name)
            build(scale_of(1.0))
        self._dataset = self._setup.make_dataset(self._setup.deploy_scale.image_size, settings.num_samples)
        candidates = []
        for number, trial in enumerate(trials, 1):
            say(f"[{number}/{len(trials)}] trial {trial.id}: {self._space.decode(trial.tokens)}")
            candidates.append(self._candidate(trial))
        best = self._choose(trials, candidates)
        say(f"trial {trials[best].id} ships: of the highest reward with its validation accuracy after full training")
        target_ms = Latency(**candidates[best]["latency"]).latency_ms
        rows, failures = [], []
        for name in settings.baselines:
            folder, network = self._baseline(name, target_ms)
            rows.append((name, folder, network, "baseline"))
        rows.insert(0, (f"trial {trials[best].id}", self._folder / "network", candidates[best], "ships"))
        table = []
        for name, folder, network, role in rows:
            if "failure" in network:
                table.append(comparison.Row(name, role, network))
                continue
            say(f"files of {name}:")
            source = folder if role == "baseline" else self._candidate_folder(trials[best])
            test = self._test_accuracy(source, trials[best] if role == "ships" else None)
            files = self._write_files(source, folder, network, test)
            failures += [f"{folder / each['file']}: {each['failure']}" for each in files if each["failure"]]
            table.append(comparison.Row(name, role, network, test, files))
        table += [
            comparison.Row(f"trial {trial.id}", "candidate", network)
            for i, (trial, network) in enumerate(zip(trials, candidates)) if i != best
        ]  # fmt: skip
        name = report.device_name(self._device.describe())
        comparison.write(self._folder, table, name, self._plan.recipe, self._dataset.describe())
        say(comparison.text(table, name))
        say(f"\n{self._folder / 'network'}\n{self._folder / 'README.md'}\n{self._folder / 'comparison.png'}")
        if failures:
            raise EvaluationError(f"{len(failures)} file(s) failed, all others are kept: {'; '.join(failures)}")
        return table

    def _choose_device(self, settings, device_settings):
        """`(Part, Meter)`: what times files here."""
        own = self._setup.device
        parts = [Part("nas_tf.devices", settings.device, device_settings)] if settings.device else [own] if own else []
        for part in parts:
            device = part.module.make(part.config, self._space, self._setup.deploy_scale)
            if isinstance(device, Meter):
                return part, device
            device.close()
        if settings.device:
            raise UserError(f"Expected a --device that times files, such as host, android. Received: {settings.device}")
        part = Part("nas_tf.devices", "host")
        return part, part.module.make(part.config, self._space, self._setup.deploy_scale)

    def _check_settings(self, trials):
        """Refuses settings, trials or a device that differ from those that the folder was begun with."""
        path = self._folder / "settings.json"
        free = ("data_dir", "checkpoint_minutes", "out_dir", "number_types", "licence", "device")
        asked = {name: value for name, value in dataclasses.asdict(self._settings).items() if name not in free}
        asked |= {**dataclasses.asdict(self._machine), "the trials": trials, "the device": self._device.describe()}
        asked = json.loads(json.dumps(asked))
        found = read_json(path)
        for name in sorted(asked.keys() | (found or asked).keys()):
            if found and asked.get(name) != found.get(name):
                raise UserError(
                    f"{self._folder} was begun with {name}: {json.dumps(found.get(name))}. Received: "
                    f"{json.dumps(asked.get(name))}. Give that again, or choose another --out_dir"
                )
        write_file(path, json.dumps(asked, indent=2) + "\n")

    def _scales(self, scale):
        """The scales to ship and to train at."""
        fields = {field.name for field in dataclasses.fields(scale)}
        asked = {name: value for name, value in self._friendly.items() if name in fields}
        return self._plan.scales(dataclasses.replace(scale, **asked))

    def _candidate_folder(self, trial):
        return self._folder / "candidates" / f"trial_{trial.id:05d}"

    def _candidate(self, trial):
        architecture = self._space.decode(trial.tokens)
        scale, train_scale = self._scales(self._setup.deploy_scale)
        network = self._network(
            self._candidate_folder(trial), lambda scale: self._space.build(architecture, scale), scale, train_scale,
            {**finish.describe(self._setup.space, architecture, scale, self._dataset), "trial": trial.id},
        )  # fmt: skip
        if "recorded" not in network and "accuracy" in network:
            self._records.add_full_accuracy(trial.id, architecture, "validation", network["accuracy"]["validation"],
                                            {"recipe": network["recipe"]})  # fmt: skip
            self._save(self._candidate_folder(trial), {**network, "recorded": True})
        return network

    def _builder(self, name):
        return baselines.builder(name, self._setup.deploy_scale, {**self._plan.scale, **self._friendly})

    def _baseline(self, name, target_ms):
        """`(pathlib.Path, dict)`: folder and description of a published network at the width of that latency."""
        build, scale_of = self._builder(name)
        path = self._folder / "baselines" / name / "widths.json"
        known = read_json(path) or {"target_ms": target_ms, "latency_ms": {}}

        def found(width, latency_ms):
            self._say(f"{name} at width {width:g}: {latency_ms:.3f} ms")
            known["latency_ms"][str(width)] = latency_ms
            write_file(path, json.dumps(known, indent=2) + "\n")

        width, latency_ms = width_match.match(
            known["target_ms"], lambda width: self._latency(build(scale_of(width))).latency_ms,
            {float(width): latency_ms for width, latency_ms in known["latency_ms"].items()}, found,
        )  # fmt: skip
        self._say(f"{name} at width {width:g}, {latency_ms:.3f} ms where the network that ships takes "
                  f"{known['target_ms']:.3f} ms")  # fmt: skip
        scale = scale_of(width)
        description = {
            "text": f"{name}, width {width:g}", "scale": dataclasses.asdict(scale), "input": finish.INPUT,
            "class_names": list(self._dataset.class_names), "dataset": self._dataset.describe(), "width": width,
        }  # fmt: skip
        return path.parent, self._network(path.parent, build, scale, scale, description)

    def _network(self, folder, build, scale, train_scale, description):
        """dict: the description of a network that was trained and timed, unless it was before."""
        found = read_json(folder / "network.json")
        if found is not None:
            return found
        asked = {"num_examples": self._dataset.describe()["num_examples"]}
        log = Log(folder / "checkpoint.npz", self._settings.checkpoint_minutes, asked)
        try:
            model, outcome = finish.train_network(
                build, scale, self._dataset, self._plan.recipe, self._setup.seed, train_scale,
                machine=self._machine, log=log, reads_test=False, progress=f"training {folder.name}",
            )  # fmt: skip
        except DivergedTraining as error:
            self._say(f"{folder.name} is left out: {error}")
            return self._save(folder, {**description, "failure": str(error)})
        figures = {
            "num_params": complexity.num_params(model), "mult_adds": complexity.mult_adds(model),
            "latency": self._latency(model).to_json(), "data": self._setup.data(self._settings.num_samples),
        }  # fmt: skip
        if self._setup.number_type != "float32" and "trial" in description:
            calibration = self._setup.calibration()
            figures["latency_judged"] = self._latency(model, self._setup.number_type, calibration).to_json()
        training_report.write_csv(folder / "training.csv", outcome["history"])
        training_report.draw(folder / "training.png", outcome["history"], description["text"])
        to_keras(model, folder / "model.keras")
        network = self._save(folder, {**description, **outcome, **figures})
        log.path.unlink(missing_ok=True)
        self._say(f"{folder.name}: validation accuracy {network['accuracy']['validation']:.4f}, "
                  f"{Latency(**network['latency']).latency_ms:.3f} ms")  # fmt: skip
        return network

    def _save(self, folder, network):
        write_file(folder / "network.json", json.dumps(network, indent=2) + "\n")
        return json.loads(json.dumps(network))

    def _latency(self, model, number_type="float32", calibration=None):
        """`nas_tf.trial.Latency` of the network as a file of that type: the middle one of three timings, as networks
        are held against each other that were timed hours apart."""
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = os.path.join(folder, "network.tflite")
            to_tflite(model, path, 1, number_type, calibration)
            timings = [self._device.measure(path) for _ in range(3)]
            return sorted(timings, key=lambda timing: timing.latency_ms)[1]

    def _choose(self, trials, candidates):
        """int: the candidate of highest reward, judged by its validation accuracy after full training."""
        reward = self._objective.resolve(self._records.references())
        rewards = {}
        for i, (trial, network) in enumerate(zip(trials, candidates)):
            if "failure" in network:
                continue
            cost = dataclasses.replace(
                trial.measurement.cost, num_params=network["num_params"], mult_adds=network["mult_adds"]
            )
            if self._is_runs_device:
                latency = Latency(**network.get("latency_judged", network["latency"]))
                cost = dataclasses.replace(cost, latency=latency)
            accuracy = network["accuracy"]["validation"]
            measurement = dataclasses.replace(trial.measurement, accuracy=accuracy, cost=cost)
            rewards[i] = network["reward"] = reward(measurement)
        if not rewards:
            raise EvaluationError("Every candidate's training diverged: there is nothing to ship. A lower "
                                  "--learning_rate, with another --out_dir, may help")  # fmt: skip
        return max(rewards, key=lambda i: (rewards[i], -trials[i].id))

    def _test_accuracy(self, folder, trial):
        """float: accuracy on the test images, which are read once for each network that is compared."""
        found = read_json(folder / "test.json")
        if found is None:
            model = finish.read_keras(folder / "model.keras")
            found = {"test": evaluate(model, self._dataset.test())}
            if trial:
                self._records.add_full_accuracy(trial.id, self._space.decode(trial.tokens), "test", found["test"], {})
            write_file(folder / "test.json", json.dumps(found) + "\n")
        return found["test"]

    def _write_files(self, source, folder, network, test):
        model = finish.read_keras(source / "model.keras")
        description = {**network, "accuracy": {**network["accuracy"], "test": test}}
        records = write_files(
            model, description, folder, dataset=self._dataset, device=self._device_part,
            number_types=self._settings.number_types, licence=self._settings.licence, say=self._say,
        )  # fmt: skip
        if "architecture" in network:
            self._space.draw(self._space.architecture(network["architecture"]), folder)
        write_file(folder / "architecture.json", json.dumps(description, indent=2) + "\n")
        return records


def _distinct(trials, space):
    """The first trial of each architecture."""
    first = {}
    for trial in trials:
        first.setdefault(space.decode(trial.tokens).fingerprint, trial)
    return list(first.values())
