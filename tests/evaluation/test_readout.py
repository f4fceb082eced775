from functools import partial

import numpy as np
import pytest

from rsagent.errors import UserError
from rsagent.evaluation.readout import fit_readout, pooled_features
from rsagent.evaluation.run import Run


def blobs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, list[str]]:
    """Three classes around three centres in 20 dimensions of very different spread."""
    centres = np.eye(20)[:3] * 4
    kinds = rng.integers(3, size=n)
    features = (centres[kinds] + rng.normal(size=(n, 20))) * np.logspace(-2, 2, 20) + 7
    return features.astype(np.float32), [f"class {kind}" for kind in kinds]


def test_a_read_out_names_classes_of_images_it_has_not_seen():
    rng = np.random.default_rng(0)
    features, labels = blobs(rng, 400)
    readout = fit_readout(features, labels, [place < 80 for place in range(400)])
    unseen, truths = blobs(rng, 300)
    right = np.mean([said == true for said, true in zip(readout.predict(unseen), truths, strict=True)])
    assert right > 0.9
    assert readout.classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("held", [[True] * 30, [False] * 30])
def test_the_penalty_needs_images_on_both_sides(held):
    features, labels = blobs(np.random.default_rng(1), 30)
    with pytest.raises(UserError, match="held-out slice"):
        fit_readout(features, labels, held)


def test_features_are_computed_once_and_again_when_the_images_change(tmp_path):
    seen = []

    def encoder(images):
        seen.extend(images)
        return np.array([[image.mean(), 1.0] for image in images], dtype=np.float32)

    run = Run(tmp_path, tmp_path)
    pictures = {str(n): partial(np.full, (8, 9, 3), n, np.uint8) for n in range(40)}
    first = pooled_features(run, "set", pictures, encoder)
    assert first[:, 0].tolist() == list(range(40))
    assert np.array_equal(pooled_features(run, "set", pictures, encoder), first)
    assert len(seen) == 40
    fewer = {key: pictures[key] for key in ("3", "1")}
    assert pooled_features(run, "set", fewer, encoder)[:, 0].tolist() == [3, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["features-set.npz"]


def test_damaged_features_are_named(tmp_path):
    (tmp_path / "features-set.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="features-set.npz: cannot be read .*; remove it"):
        pooled_features(Run(tmp_path, tmp_path), "set", {"a": partial(np.zeros, (8, 8, 3), np.uint8)}, lambda _: None)
