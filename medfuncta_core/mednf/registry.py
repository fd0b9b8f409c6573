"""The seven sub-datasets of MedNF by name: what they were fitted to, what their labels mean, and their licences.

Source: Table 7 and App. G. All come from MedMNIST at 64 x 64. Table 7 counts 10,005 validation signals of PathNF; MedMNIST has
10,004, which is what its total of 107,180 adds up to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

EDGE = 64
PRESET = "image-64"


@dataclass(frozen=True)
class RegisteredSet:
    """A data set whose latents the paper publishes.

    Args:
        name: The paper's, `ChestNF`.
        medmnist: MedMNIST's name of the data.
        modality: What the pictures are.
        channels: 1 or 3.
        task: What the labels are for.
        class_names: By number.
        splits: Signals of train, val and test.
        licence: Of data and latents.
        several_labels: Whether a signal has a yes or no for every class.
    """

    name: str
    medmnist: str
    modality: str
    channels: int
    task: str
    class_names: tuple[str, ...]
    splits: tuple[int, int, int]
    licence: str = "CC BY 4.0"
    several_labels: bool = False

    @property
    def data(self) -> str:
        """As `load_data_set` takes it."""
        return f"{self.medmnist}:{EDGE}"

    @property
    def rows(self) -> int:
        """Signals of all splits."""
        return sum(self.splits)

    @property
    def train_command(self) -> str:
        """Trains the paper's network for it."""
        return f"train --preset {PRESET} --data {self.data} --out runs/{self.name.lower()}"

    @property
    def encode_command(self) -> str:
        """Makes the set."""
        return f"encode CHECKPOINT --data {self.name} --out sets/{self.name.lower()}"


_DERMA = (
    *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
    *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
)
_CHEST = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
)
_PATH = (
    *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
    *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
)
_TISSUE = (
    *("collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells"),
    *("interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb"),
)
_OCT = ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")
_GRADES = tuple(f"grade {grade}" for grade in range(5))

REGISTRY = (
    RegisteredSet(
        "ChestNF",
        "chestmnist",
        "chest X-ray",
        1,
        "multi-label (14) binary-class (2) classification",
        _CHEST,
        (78468, 11219, 22433),
        several_labels=True,
    ),
    RegisteredSet("PathNF", "pathmnist", "colon pathology", 3, "multi-class (9) classification", _PATH, (89996, 10004, 7180)),
    RegisteredSet(
        "DermaNF",
        "dermamnist",
        "dermatoscope",
        3,
        "multi-class (7) classification",
        _DERMA,
        (7007, 1003, 2005),
        licence="CC BY-NC 4.0",
    ),
    RegisteredSet("OctNF", "octmnist", "retinal OCT", 1, "multi-class (4) classification", _OCT, (97477, 10832, 1000)),
    RegisteredSet(
        "PneumoniaNF",
        "pneumoniamnist",
        "chest X-ray",
        1,
        "binary-class (2) classification",
        ("normal", "pneumonia"),
        (4708, 524, 624),
    ),
    RegisteredSet("RetinaNF", "retinamnist", "fundus camera", 3, "ordinal regression (5)", _GRADES, (1080, 120, 400)),
    RegisteredSet(
        "TissueNF",
        "tissuemnist",
        "kidney cortex microscope",
        1,
        "multi-class (8) classification",
        _TISSUE,
        (165466, 23640, 47280),
    ),
)
"""As Table 7 lists them."""


def find_registered(text: str) -> RegisteredSet | None:
    """The registered set that a name or a data set's name or path means, or None.

    Args:
        text: `ChestNF` in any case, `chestmnist`, `chestmnist:64`, or a path to `chestmnist_64.npz`.
    """
    name = PurePath(text).name.lower().removesuffix(".npz").replace(":", "_")
    stem, _, edge = name.partition("_")
    for known in REGISTRY:
        if name == known.name.lower() or (stem == known.medmnist and (edge == "" or edge.isdecimal())):
            return known
    return None


def data_of(text: str) -> str:
    """What `load_data_set` is to open: a registered name's data, and anything else as it is."""
    known = find_registered(text)
    return known.data if known is not None and text.lower() == known.name.lower() else text
