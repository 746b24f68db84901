"""Whatever comes from outside gives a right answer or one `UserError` line, in under a second and 500 MB.

Each property is tried on 100 inputs in `make test` and on 2,000 in `make test-all`: anything at all, and what is nearly
right, which gets further.
"""

import copy
import dataclasses
import json
import re
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasnet_support import rewritten
from support import peak_mb, script

from mnas_tf.family import FAMILY
from mnas_tf.published import ARCHITECTURES
from mnas_tf.spaces import mnasnet
from mnas_tf.spaces.mnasnet import MnasNet
from nas_tf.datasets import Source
from nas_tf.devices import table
from nas_tf.devices.table import LatencyTable
from nas_tf.family import space_from_file
from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import describe, read_architecture, read_description
from nas_tf.plugins import Part
from nas_tf.search.records import Records
from nas_tf.search.request import make_request
from nas_tf.search.run import _describe_space
from nas_tf.search.run_folder import RunFolder, measured_under
from nas_tf.search.warm_start import read_earlier
from nas_tf.shipping.chain import ship
from nas_tf.shipping.files import make_device
from nas_tf.shipping.settings import ShipSettings
from nas_tf.trial import EvaluationError, UserError
from nasnet_tf.published import ARCHITECTURES as CELLS
from nasnet_tf.spaces._cell import OPERATIONS, Cell

FEW, MANY = 100, pytest.param(2_000, marks=pytest.mark.storm)
both = pytest.mark.parametrize("num_examples", [FEW, MANY])

NUMBERS = st.integers() | st.integers(-3, 100) | st.sampled_from((2**31, 10**12, 10**17, 10**30)) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.sampled_from(("", "none", "x.py", "~", "/", "1", "NaN")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def check(num_examples, inputs, answer, verify=lambda answered: None):
    """Gives inputs to `answer`, which asserts what is right, or raises `UserError`; what it returns is verified
    afterwards, in time of its own."""

    @settings(
        max_examples=num_examples,
        derandomize=num_examples == FEW,
        deadline=None,  # what counts is the time of this process, whatever else the machine does
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(value):
        seconds, held_mb = time.process_time(), peak_mb(anew=True)
        answered = None
        try:
            answered = answer(value)
        except UserError as error:
            said = " ".join(str(error).split())
            assert 10 < len(said) < 2_000, said[:300]
            said.encode(errors="backslashreplace")
        assert time.process_time() - seconds < 1
        assert peak_mb() - held_mb < 500
        verify(answered)

    one()


@st.composite
def nearly(draw, whole):
    """A JSON value that differs from `whole` in one to three places: replaced, taken out, doubled or put in."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = [value], 0
        while isinstance(holder[key], (dict, list)) and holder[key] and (holder == [value] or draw(st.integers(0, 3))):
            holder, key = holder[key], draw(st.sampled_from(keys_of(holder[key])))
        if holder == [value]:
            return draw(JSON)
        what = draw(st.sampled_from(("replace", "replace", "remove", "double", "more")))
        if what == "replace":
            holder[key] = draw(JSON)
        elif what == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[draw(st.text(max_size=6))] = draw(JSON) if what == "more" else copy.deepcopy(holder[key])
    return value


def keys_of(value):
    """List of the keys of a dict, or of the places of a list."""
    return list(value) if isinstance(value, dict) else list(range(len(value)))


@st.composite
def files(draw, whole):
    """The bytes of a JSON file: nearly `whole`, anything, cut short, or with other bytes in it."""
    content = bytearray(json.dumps(draw(st.just(whole) | nearly(whole) | nearly(whole) | JSON)).encode())
    how = draw(st.sampled_from(("as it is",) * 4 + ("cut", "changed", "nested", "bytes")))
    place = draw(st.integers(0, max(len(content) - 1, 0)))
    if how == "cut":
        content = content[:place]
    elif how == "changed":
        content[place : place + 1] = draw(st.binary(max_size=4))
    elif how == "nested":
        depth = draw(st.integers(1, 100_000))
        content = b"[" * depth + content + b"]" * depth
    elif how == "bytes":
        content = draw(st.binary(max_size=100))
    return bytes(content)


@st.composite
def block_strings(draw):
    """Fields in the order of a block string, of any size; or a published network with some characters changed."""
    if draw(st.booleans()):
        text = str(draw(st.sampled_from(list(ARCHITECTURES.values()))))
        for _ in range(draw(st.integers(0, 3))):
            place = draw(st.integers(0, len(text)))
            taken = draw(st.integers(0, 5))
            text = text[:place] + draw(st.text("rksei_o0123456789 .noskipadbcf-+", max_size=5)) + text[place + taken :]
        return text
    number = st.integers(0, 200) | st.integers() | st.sampled_from(("", "11", "22", "0.25", "9" * 100))
    blocks = []
    for _ in range(draw(st.integers(1, 8)) * draw(st.sampled_from((1, 1, 1, 60)))):
        names = draw(st.sampled_from(("rkseio", "rkseio", "kseio", "rrkseio", "oiesk")))
        blocks.append(
            "_".join(f"{name}{draw(number)}" for name in names) + draw(st.sampled_from(("", "_noskip", "_x")))
        )
    return draw(st.sampled_from((" ", ",", "\n"))).join(blocks)


@both
def test_any_block_string(num_examples):
    def answer(text):
        network = MnasNet.parse(text)
        assert MnasNet.parse(str(network)) == network
        assert MnasNet.from_json(json.loads(json.dumps(network.to_json()))).fingerprint == network.fingerprint

    check(num_examples, st.text() | block_strings(), answer)


@st.composite
def cells(draw):
    """The JSON of a cell of up to 40 blocks, in which few kinds of blocks make many twins; perhaps changed."""
    operations = draw(st.sampled_from((OPERATIONS, OPERATIONS[:2], OPERATIONS[:1])))
    near = draw(st.integers(1, 40))
    blocks = []
    for number in range(draw(st.integers(1, 40))):
        states, op = st.integers(0, min(number + 1, near)), st.sampled_from(operations)
        blocks.append(
            {
                "input1": draw(states),
                "input2": draw(states),
                "op1": draw(op),
                "op2": draw(op),
                "combine": draw(st.sampled_from(("add", "add", "concat"))),
            }
        )
    cell = {"blocks": blocks, "output": None}
    return draw(st.just(cell) | st.just(cell) | nearly(cell))


@both
def test_any_cell(num_examples):
    rng = np.random.default_rng(0)

    def answer(value):
        cell = Cell.from_json(value)
        assert Cell.from_json(json.loads(json.dumps(cell.to_json()))) == cell
        assert cell.fingerprint
        return cell

    def verify(cell):
        if cell is not None:
            assert cell.canonical.canonical == cell.canonical
            assert rewritten(cell, rng).fingerprint == cell.fingerprint

    check(num_examples, JSON | cells(), answer, verify)


PARTS = {
    "mnasnet": (Part("mnas_tf.spaces", "mnasnet"), ARCHITECTURES["mnasnet_a1"]),
    "proxylessnas": (Part("mnas_tf.spaces", "proxylessnas"), None),
    "nasnet": (Part("nasnet_tf.spaces", "nasnet"), next(iter(CELLS.values()))),
}


@pytest.fixture(scope="module")
def descriptions():
    """Lists of the JSON of a trained network's architecture.json and of its space, one each."""
    dataset = Source(Part("nas_tf.datasets", "digits"), "", 0).make(32, 100)
    found = []
    for part, architecture in PARTS.values():
        space = part.space
        if architecture is None:
            architecture = space.decode((0,) * len(space.num_choices))
        scale = dataclasses.replace(part.module.Scale(), image_size=32, num_classes=10)
        found.append((describe(part, architecture, scale, dataset).to_json(), space))
    return found


@both
def test_any_architecture_json(num_examples, descriptions, tmp_path):
    path = tmp_path / "architecture.json"
    simulated = Part("nas_tf.devices", "simulated")

    def answer(given):
        space, content = given
        path.write_bytes(content)
        for read in (as_architecture, as_network):
            try:
                read(space)
            except UserError as error:
                refused = error
            else:
                refused = None
        if refused:
            raise refused

    def as_architecture(space):
        architecture = read_architecture(path, space)
        assert space.architecture(json.loads(json.dumps(architecture.to_json()))) == architecture

    def as_network(space):
        description = read_description(tmp_path)
        assert NetworkDescription.from_json(description.to_json()) == description
        if description.space is not None:
            make_device(simulated, description).close()
            made = space_from_file(description.space, path).space
            made.architecture(description.architecture)

    inputs = st.one_of(*(st.tuples(st.just(space), files(whole)) for whole, space in descriptions))
    check(num_examples, inputs, answer)


@both
def test_any_latency_table(num_examples, tmp_path):
    space, scale = mnasnet.SPACE, mnasnet.Scale(image_size=32, num_classes=10)
    units = {unit.name: 0.01 for unit in space.all_units(scale)}
    path = tmp_path / "table.json"
    LatencyTable(space.name, space.latency_scale(scale), {"device": "host"}, 0.5, units, {"made_at": "now"}).write(path)
    whole = json.loads(path.read_text())
    few = {**whole, "units": dict(list(units.items())[:3])}  # so that changes meet the rest of the table as well
    network = space.decode((0,) * len(space.num_choices))
    count = round((table.make(table.Config(str(path)), space, scale).estimate([network])[0] - 0.5) / 0.01)

    def answer(content):
        path.write_bytes(content)
        device = table.make(table.Config(str(path)), space, scale)
        device.check()
        device.describe()
        read = json.loads(content)
        changed = {name for name, ms in units.items() if read["units"].get(name) != ms}
        try:
            (ms,) = device.estimate([network])
        except EvaluationError as error:
            assert "which is no latency" in str(error)
            return
        assert 0 < ms < float("inf")
        if not changed:
            assert ms == pytest.approx(read["intercept_ms"] + 0.01 * count)

    check(num_examples, files(whole) | files(few), answer)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run folder just begun, and its request."""
    folder = tmp_path_factory.mktemp("run")
    settings = FAMILY.search_settings(run_dir=str(folder), device="simulated", proxy_image_size=8, deploy_image_size=32)
    request = make_request(FAMILY, settings, dataclasses.replace(FAMILY.objective, target_latency_ms=1.0))
    begin(request)
    return folder, request


def begin(request, has_begun=False):
    """Opens the folder of a request's run as a search does, without anything measured."""
    setup = request.setup
    folder = RunFolder(request.settings.run_dir)
    facts = setup.task.images.make(setup.task.proxy_scale.image_size, 0).facts()
    records = Records(folder.records)
    try:
        device, judge = setup.make_device().describe(), setup.make_judge().describe()
        asked = (device, _describe_space(setup.task), judge, facts, request.parts, has_begun, records)
        folder.open(request.flags(), request.deciding_flags(), *asked, say=lambda line: None)
    finally:
        records.close()


@both
def test_any_config_json_of_a_run_that_ships(num_examples, whole_run):
    folder, _ = whole_run
    path = folder / "config.json"
    kept = path.read_bytes()

    def answer(content):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            ship(folder, ShipSettings(), say=lambda line: None)
        if content == kept:
            assert "holds no finished trial: there is nothing to ship" in str(caught.value)
        raise caught.value

    try:
        check(num_examples, files(json.loads(kept)), answer)
        with pytest.raises(UserError, match="holds no finished trial: there is nothing to ship"):
            path.write_bytes(kept)
            ship(folder, ShipSettings(), say=lambda line: None)
    finally:
        path.write_bytes(kept)


@both
def test_any_config_json_of_a_run_that_goes_on(num_examples, whole_run):
    folder, request = whole_run
    path = folder / "config.json"
    kept = path.read_bytes()
    identity = {name: value for name, value in measured_under(folder).items() if value is not None}

    def answer(content):
        path.write_bytes(content)
        begin(request, has_begun=True)
        # What it goes on with is what it was begun with. A value that is missing is as good as none.
        assert {name: value for name, value in measured_under(folder).items() if value is not None} == identity
        assert json.loads(path.read_text())["flags"] == json.loads(kept)["flags"]

    try:
        check(num_examples, files(json.loads(kept)), answer)
    finally:
        path.write_bytes(kept)


@both
def test_any_config_json_of_a_run_to_start_from(num_examples, whole_run, tmp_path):
    folder, request = whole_run
    path = folder / "config.json"
    kept = path.read_bytes()
    mine = FAMILY.search_settings(
        **{**dataclasses.asdict(request.settings), "run_dir": str(tmp_path / "new"), "warm_start": str(folder)}
    )
    other = make_request(FAMILY, mine, request.objective)
    (tmp_path / "new").mkdir()
    begin(other)

    def answer(content):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:  # at the latest that it has no trials
            read_earlier(other, RunFolder(mine.run_dir))
        raise caught.value

    try:
        check(num_examples, files(json.loads(kept)), answer)
    finally:
        path.write_bytes(kept)


@pytest.fixture(scope="module")
def commands():
    """Dict from command to the flags that change nothing of what the test gives it."""
    images = ("--dataset=image_folder", "--data_dir=none_here")
    given = {
        "mnas-search": ("--run_dir=run", *images),
        "mnas-train": ("--out_dir=out", *images),
        "mnas-export": ("--network_dir=none_here",),
        "nasnet-search": ("--run_dir=run", *images),
        "nasnet-train": ("--out_dir=out", *images),
        "nasnet-export": ("--network_dir=none_here",),
        "nas-table": ("--out=table.json", "--device=simulated"),
        "nas-ship": ("none_here",),
    }
    found = {}
    for command, fixed in given.items():
        names = re.findall(r"^  --(?:\[no\])?(\w+)", script(command, "--help").stdout, re.MULTILINE)
        ours = {flag.partition("=")[0].strip("-") for flag in fixed}
        found[command] = fixed, sorted(set(names) - ours)
    assert all(len(names) > 10 for _, names in found.values())
    return found


@both
def test_any_flags(num_examples, commands, tmp_path):
    """No image, network or run is there, so that flags that are right end in the one line that says so."""
    usual_seconds = max(script(command, "--help").cpu_seconds for command in commands)
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
    values = texts | NUMBERS.map(str) | st.sampled_from(("", "none", "true", "a,b", "1,2", "mnasnet", "x.py", "1e999"))

    @st.composite
    def lines(draw):
        command = draw(st.sampled_from(sorted(commands)))
        fixed, names = commands[command]
        some = draw(st.lists(st.tuples(st.sampled_from(names) | texts, values), max_size=4))
        return command, (*fixed, *(f"--{name}={value}" for name, value in some))

    def answer(line):
        command, arguments = line
        process = script(command, *arguments, cwd=tmp_path)
        said = process.stderr.strip().splitlines()
        # Beside what every command takes to import.
        assert process.cpu_seconds < usual_seconds + 1 and process.grown_mb < 500
        if process.returncode == 0:  # one of them asks for help
            assert process.stdout.strip() and not said
            return
        assert process.returncode == 2 and len(said) == 1 and said[0].startswith(f"{command}: "), process.stderr
        assert not list(tmp_path.iterdir())

    check(num_examples, lines(), answer)
