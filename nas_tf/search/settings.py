"""The settings of every search, and in which folders the parts that they choose lie."""

import dataclasses
import math

from nas_tf import datasets
from nas_tf.settings import CHILDREN, DEVICE, IMAGES, PLACES, RUN, SEARCH, SHIPS, Settings, knob
from nas_tf.trial import UserError

DEVICES, DATASETS, ALGORITHMS = "nas_tf.devices", "nas_tf.datasets", "nas_tf.algorithms"
JUDGES, WORKERS = "nas_tf.judges", "nas_tf.search.workers"
RACE_FRACTION = 0.15
AUTO = "auto"  # the algorithm is chosen by the number of trials
_MOST_PREDICTED = 1000  # trials, beyond which the predictor's own time tells


@dataclasses.dataclass(frozen=True)
class SearchSettings(Settings):
    """The settings of every search. A family adds its space and its scales."""

    run_dir: str = knob(
        "",
        "Folder of the run; the same command goes on where it stopped.",
        required="the folder of the run, as in --run_dir=runs/first",
        path=True,
        decides=False,
        group=RUN,
    )
    dataset: str = knob(
        "", "Images; default: image_folder with a --data_dir, else digits.", folder=DATASETS, group=IMAGES
    )
    data_dir: str = knob(
        "", "Folder or zip of the images, where the data set needs one.", path=True, decides=False, group=IMAGES
    )
    algorithm: str = knob(
        "",
        "Search algorithm; auto, the default with a --parent: predictor, or evolution for more than 1,000 trials; "
        "without a parent: ppo.",
        folder=ALGORITHMS,
        also=(AUTO,),
        group=SEARCH,
    )
    judge: str = knob(
        "", "Where accuracy comes from; default: inherited with a --parent, else proxy.", folder=JUDGES, group=SEARCH
    )
    parent: str | None = knob(
        None,
        "Trained network whose weights all others begin with: a published name, a file of weights or the folder of a "
        "network.",
        path=True,
        group=SEARCH,
    )
    race_fraction: float | None = knob(
        None,
        "Share of the training images by which nas-ship chooses in the end, and which nothing else sees; default: "
        f"{RACE_FRACTION:g} with a --parent, else none.",
        least=0,
        below=1,
        group=IMAGES,
    )
    device: str = knob("host", "Where latency comes from; none: nowhere.", folder=DEVICES, also=("none",), group=DEVICE)
    num_trials: int = knob(
        40, "Trials in all; 0: as many as --max_hours leaves time for.", least=0, decides=False, group=RUN
    )
    max_hours: float | None = knob(
        None,
        "Hours after which no trial goes on, over every session of the run; the best network is trained after them.",
        above=0,
        decides=False,
        group=RUN,
    )
    seed: int = knob(0, "Decides suggestions, splits, initial weights and the order of images.", least=0, group=SEARCH)
    workers: str = knob("process", "Where evaluations run.", folder=WORKERS, decides=False, group=PLACES)
    num_workers: int = knob(
        0, "Worker processes; 0: one for each core, at most 8.", least=0, decides=False, group=PLACES
    )
    worker_memory_mb: int = knob(
        1400, "A worker that has grown beyond this is replaced after its job.", least=1, decides=False, group=PLACES
    )
    order: str = knob(
        "auto",
        "synchronous: the algorithm hears of trials in order, so that the same seed and measurements give the same "
        "trials on one machine and on any cluster; asynchronous: as they arrive, and nobody waits for the slowest; "
        "auto: asynchronous on a cluster, and on one machine but for ppo, which waits for whole batches.",
        choices=("auto", "synchronous", "asynchronous"),
        decides=False,
        group=SEARCH,
    )
    in_flight: int = knob(
        16,
        "With --order=synchronous: trials that may run while the algorithm is asked for another. Other numbers give "
        "other trials; workers beyond it stay idle.",
        least=1,
        group=SEARCH,
    )
    deadline_factor: float = knob(
        10.0,
        "Times the rehearsal's time for that much work after which a worker process is killed.",
        least=1,
        decides=False,
        group=PLACES,
    )
    proxy_image_size: int = knob(
        32,
        "Height and width of the images on which children are trained, in pixels.",
        least=1,
        most=4096,
        group=CHILDREN,
    )
    proxy_samples: int = knob(0, "Training images that a child sees, drawn by class; 0: all.", least=0, group=CHILDREN)
    deploy_image_size: int = knob(
        224,
        "Height and width, in pixels, at which the network ships and its cost counts.",
        least=1,
        most=4096,
        group=SHIPS,
    )
    deploy_number_type: str = knob(
        "float32",
        "Type of the TFLite file that is timed and ships; int8 is calibrated on training images.",
        choices=("float32", "float16", "int8"),
        group=SHIPS,
    )
    deploy_head: str = knob(
        "none",
        "ssdlite: a network's cost is that of the SSDLite detector that it would be, without suppression; accuracy is "
        "its classifier's. nas-ship --task=detection goes on from there.",
        choices=("none", "ssdlite"),
        group=SHIPS,
    )
    deploy_head_classes: int = knob(90, "Classes of that detector; COCO numbers 90.", least=1, most=10_000, group=SHIPS)
    final_epochs: int = knob(
        5,
        "Epochs, at the deployment scale, of the best network; 0 leaves it untrained.",
        least=0,
        decides=False,
        group=SHIPS,
    )
    final_samples: int = knob(
        0, "Training images for these epochs, drawn by class; 0: all.", least=0, decides=False, group=SHIPS
    )
    remeasured_share: float = knob(
        0.1,
        "Share of the trials of an architecture tried before that are measured anew, to know the noise; others copy.",
        least=0,
        most=1,
        group=SEARCH,
    )
    promoted_share: float | None = knob(
        None,
        "Judge in rungs: share of the networks of a rung that go on to the next, such as 0.33; default: no rungs, each "
        "network is judged in full.",
        above=0,
        below=1,
        group=SEARCH,
    )
    warm_start: str = knob(
        "", "Folder of an earlier run whose trials are judged again and learned from first.", path=True, group=RUN
    )

    def __post_init__(self):
        super().__post_init__()
        if self.num_trials == 0 and self.max_hours is None:
            raise UserError("Expected --max_hours where --num_trials=0 asks for as many as time allows. Received: none")
        if self.order == "synchronous" and self.promoted_share is not None:
            raise UserError(
                "Who goes on to the next rung depends on who has arrived. Expected --order=asynchronous or auto with "
                f"--promoted_share. Received: --order=synchronous --promoted_share={self.promoted_share:g}"
            )
        object.__setattr__(self, "dataset", datasets.chosen(self.dataset, self.data_dir))
        algorithm = self.algorithm or (AUTO if self.parent else "ppo")
        if algorithm == AUTO:
            algorithm = "evolution" if self.num_trials > _MOST_PREDICTED else "predictor"
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "judge", self.judge or ("inherited" if self.parent else "proxy"))

    @property
    def most_trials(self):
        """float: trials in all, infinite where time alone bounds them."""
        return self.num_trials or math.inf

    @property
    def window(self):
        """int: of how many trials the algorithm may not know yet; None: it hears of them as they arrive."""
        return self.in_flight if self.order == "synchronous" else None

    @property
    def raced_fraction(self):
        """float: share of the training images that only nas-ship sees."""
        return self.race_fraction if self.race_fraction is not None else RACE_FRACTION if self.parent else 0.0
