"""The showcase model that git carries: it loads, it gives what is stored, and it draws a part."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis.spoiled import SPOILS
from analysis.validation import as_markdown
from patronus import load
from patronus.explain.what import raised
from patronus.files import load_json
from patronus.method import to_uint8, to_unit
from patronus.sources import ROOT
from patronus.worlds import faces

FOLDER = ROOT / "paper" / "showcase"
PARTS = {"Eyeglasses": 11, "No_Beard": 3}  # prototypes that draw dark glasses and a beard
SEED, COUNT, STEPS = 20_261_121, 8, 25  # faces that no training or test set holds


@pytest.fixture(scope="module")
def model():
    return load(FOLDER / "checkpoint")


@pytest.fixture(scope="module")
def stored():
    return np.load(FOLDER / "explanation" / "what.npz")


@torch.inference_mode()
def test_half_precision_weights_give_the_stored_activations(model, stored):
    codes = model.encode(to_unit(torch.from_numpy(stored["images"]))).numpy()
    np.testing.assert_allclose(codes[:, stored["order"]].T, stored["before"], atol=0.02)


def bare_faces(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Faces without the part (uint8, N 3 32 32), and where it would be (N 32 32)."""
    labels, without = faces.sample_labels(40, SEED), int(part in faces.NEGATED)
    rows = [(i, row) for i, row in labels.iterrows() if row[part] == without][:COUNT]
    bit = 1 << faces.DRAWN.index(part)
    pictures, masks = [], []
    for i, row in rows:
        pictures.append(small(faces.render(row, SEED, i)[0]))
        parts = faces.render(faces.flip(row, part), SEED, i)[1]
        masks.append(small(((parts & bit) > 0).astype(np.uint8) * 255) > 127)
    return np.stack(pictures).transpose(0, 3, 1, 2), np.stack(masks)


def small(picture: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("part", "prototype"), PARTS.items())
@torch.inference_mode()
def test_raising_the_prototype_of_a_part_draws_it_dark_on_new_faces(model, stored, part, prototype):
    images, masks = bare_faces(part)
    x0 = to_unit(torch.from_numpy(images))
    s = model.encode(x0)
    x_T = model.invert(x0, s, STEPS)
    dims = torch.full((len(s),), prototype)
    edited = model.decode(x_T, raised(s, dims, torch.from_numpy(stored["v_max"])), STEPS)
    plain = model.decode(x_T, s, STEPS)
    gain = model.encode(edited)[:, prototype] - model.encode(plain)[:, prototype]
    assert (gain > 0).all(), "the activation must follow the code"
    change = to_uint8(edited).float().mean(1) - to_uint8(plain).float().mean(1)
    inside = torch.from_numpy(masks)
    darker = [(-c[m]).mean() for c, m in zip(change, inside, strict=True)]
    share = [(c.square()[m].sum() / c.square().sum()) / m.float().mean()
             for c, m in zip(change, inside, strict=True)]
    assert min(darker) > 10, "every face gets darker where the part sits"
    assert np.median(share) > 2, "the change is where the part is, not everywhere"


def test_each_of_the_twelve_faults_is_noticed_by_two_measures_even_if_all_are_counted():
    about = load_json(FOLDER / "validation" / "validation.json")
    assert set(about["versions"]) == {spoil.name for spoil in SPOILS} and len(SPOILS) == 12
    for version in about["versions"]:
        seen = [one["measure"] for one in about["judged"]
                if one["version"] == version and one.get("sure")]
        assert len(seen) >= 2, (version, seen)


def test_the_table_in_the_documents_is_that_of_the_files():
    table = (FOLDER / "validation" / "validation.md").read_text()
    text = (ROOT / "docs" / "measures.md").read_text()
    judged = load_json(FOLDER / "validation" / "validation.json")["judged"]
    assert table in text
    assert table == as_markdown(pd.read_csv(FOLDER / "validation" / "validation.csv"), judged)
    noticed = [one["noticed"] for one in judged if one["expected"]]
    sure = Counter(one["version"] for one in judged if one.get("sure"))
    assert f"Of {len(noticed)} pairs of fault and measure that were expected, " \
           f"{sum(noticed)} were noticed" in text
    assert f"at least\n{min(sure.values())} measures" in text and len(sure) == len(SPOILS)


def test_what_was_expected_of_the_deposited_model_is_what_the_faults_say():
    for one in load_json(FOLDER / "validation" / "validation.json")["judged"]:
        spoil = next(spoil for spoil in SPOILS if spoil.name == one["version"])
        assert one["expected"] == (one["measure"] in spoil.notice), one


def test_a_code_of_one_bit_improves_no_measure_of_the_showcase_model():
    about = load_json(FOLDER / "validation" / "validation.json")
    better = {one["measure"] for one in about["judged"]
              if one["version"] == "one_bit" and one["noticed"] is False and one["high"] < 0}
    assert better.isdisjoint({"realised", "selectivity", "sensitivity"})
