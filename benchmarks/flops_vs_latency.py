"""Do multiply-adds tell the latency? MnasNet measures because they do not (arXiv 1807.11626, section 1).

Takes the random networks on which latency tables were tested. Compares their multiply-adds, and the tables'
predictions, with their measured latencies: rank correlations and one picture.

nas-table --search_space=mnasnet --out=mnasnet.json --num_validation=40
nas-table --search_space=nasnet --out=nasnet.json --num_validation=20
python -m benchmarks.flops_vs_latency --tables=mnasnet.json,nasnet.json --out=flops_vs_latency.png
"""

import dataclasses

import numpy as np

from nas_tf import flags
from nas_tf.bars import progress_bar
from nas_tf.complexity import mult_adds
from nas_tf.devices.table import LatencyTable
from nas_tf.family import family_of
from nas_tf.quiet import import_keras
from nas_tf.ranks import rank_correlation
from nas_tf.reports import _picture
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    tables: tuple[str, ...] = knob((), "Latency tables made by nas-table.", path=True)
    out: str = knob("flops_vs_latency.png", "Picture to write.", path=True)


def read_networks(path):
    """Returns `(table, multiply-adds in millions, predicted ms, measured ms)`, arrays over its test networks."""
    table = LatencyTable.read(path)
    part = family_of(table.space).space(table.space, table.facts["space_settings"])
    scale, keras = part.module.Scale(**table.scale), import_keras()
    networks = table.facts["validation"]["networks"]
    counts = []
    for network in progress_bar(networks, desc=f"building {table.space}"):
        keras.backend.clear_session()
        counts.append(mult_adds(part.space.build(part.space.decode(network["tokens"]), scale)) / 1e6)
    predicted = [network["predicted_ms"] for network in networks]
    measured = [np.median(network["measured_ms"]) for network in networks]
    return table, np.array(counts), np.array(predicted), np.array(measured)


def main():
    knobs = flags.read(Knobs)
    if not knobs.tables:
        raise UserError("Expected --tables, files that nas-table made. Received: none")
    found = [read_networks(path) for path in knobs.tables]
    everything = [np.concatenate(values) for values in zip(*(each[1:] for each in found))]
    print(f"{'networks':<28} {'rank correlation with measured latency of':>45}")
    print(f"{'':<28} {'multiply-adds':>22} {'the table':>22}")
    rows = [(f"{len(figures[0])} of {table.space}", *figures) for table, *figures in found]
    for name, counts, predicted, measured in [*rows, (f"{len(everything[0])} together", *everything)]:
        print(f"{name:<28} {rank_correlation(counts, measured):>22.4f} {rank_correlation(predicted, measured):>22.4f}")
    draw(knobs.out, found, everything)
    print(knobs.out)


def draw(path, found, everything):
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = _picture.new_figure(11, 5)
    left, right = figure.subplots(1, 2)
    for (table, counts, predicted, measured), color in zip(found, ("tab:blue", "tab:orange", "tab:green", "tab:red")):
        left.scatter(counts, measured, s=18, color=color, label=table.space)
        right.scatter(predicted, measured, s=18, color=color, label=table.space)
    counts, predicted, measured = everything
    left.set(
        xlabel="multiply-adds (M)",
        ylabel="measured latency (ms)",
        xscale="log",
        yscale="log",
        title=f"multiply-adds: rank correlation {rank_correlation(counts, measured):.3f}",
    )
    ends = [0.9 * measured.min(), 1.1 * measured.max()]
    right.plot(ends, ends, color="black", lw=0.8)
    right.set(
        xlabel="latency by the table (ms)",
        xscale="log",
        yscale="log",
        title=f"latency table: rank correlation {rank_correlation(predicted, measured):.3f}",
    )
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(
        f"Random networks on {found[0][0].device.get('model') or found[0][0].device.get('processor')}", fontsize=10
    )
    _picture.write(path, figure)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
