"""The drawn faces: known parts, known labels, and nothing else changes."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from patronus.worlds import faces
from patronus.worlds.faces import ATTRIBUTES, DRAWN, NEGATED

SEED = 11
HIDDEN = 8  # levels: what an opaque layer that covers 97 % of a pixel lets through


def part(parts, *names):
    """Where any of the named attributes is visible, bool (H, W)."""
    return parts & np.uint32(sum(1 << DRAWN.index(name) for name in names)) > 0


def plain(**changes):
    """A young woman with brown straight hair and nothing else, then the changes."""
    row = dict.fromkeys(ATTRIBUTES, 0)
    row.update(Brown_Hair=1, Straight_Hair=1, No_Beard=1, Young=1)
    return row | changes


def at32(image):
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)
    return np.asarray(small, float)


def test_names_are_the_forty_of_celeba_and_at_least_sixteen_are_drawn():
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 40
    assert list(ATTRIBUTES) == sorted(ATTRIBUTES, key=str.lower)
    assert 16 <= len(DRAWN) <= 32 and set(DRAWN) <= set(ATTRIBUTES)
    assert list(DRAWN) == [name for name in ATTRIBUTES if name in DRAWN]


def test_labels_of_a_row_do_not_depend_on_the_number_of_rows():
    few, many = faces.sample_labels(7, SEED), faces.sample_labels(300, SEED)
    assert few.equals(many.iloc[:7])
    assert not few.equals(faces.sample_labels(7, SEED + 1))


def test_label_rates_and_groups():
    labels = faces.sample_labels(4000, SEED)
    assert list(labels.columns) == list(ATTRIBUTES)
    assert np.isin(labels, (0, 1)).all()
    assert (labels[["Black_Hair", "Blond_Hair", "Brown_Hair"]].sum(axis=1) == 1).all()
    assert (labels["Straight_Hair"] + labels["Wavy_Hair"] == 1).all()
    assert not labels[[name for name in ATTRIBUTES if name not in DRAWN]].to_numpy().any()
    for name, rate in faces.RATES.items():
        assert abs(labels[name].mean() - rate) < 0.04, name


def test_attributes_are_independent_unless_planted():
    table = faces.sample_labels(4000, SEED)[list(faces.RATES)].corr().to_numpy()
    assert np.abs(table - np.eye(len(table))).max() < 0.07


@pytest.mark.parametrize("strength", [0.5, 0.9, 1.0, 0.0])
@pytest.mark.parametrize("pair", [("Blond_Hair", "Smiling"), ("Male", "Black_Hair"),
                                  ("Smiling", "Wavy_Hair")])
def test_planted_correlation_has_the_chosen_strength(pair, strength):
    labels = faces.sample_labels(4000, SEED, plant=(*pair, strength))
    a, b = labels[pair[0]], labels[pair[1]]
    assert abs((a == b).mean() - strength) < (0.03 if 0 < strength < 1 else 1e-9)
    assert (labels[["Black_Hair", "Blond_Hair", "Brown_Hair"]].sum(axis=1) == 1).all()
    assert (labels["Straight_Hair"] + labels["Wavy_Hair"] == 1).all()
    if strength == 0.5:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


@pytest.mark.parametrize("plant", [("Male", "Attractive", 0.9), ("Male", "Male", 0.9),
                                   ("Male", "Smiling", 1.5), ("Black_Hair", "Blond_Hair", 0.9)])
def test_impossible_correlations_are_refused(plant):
    with pytest.raises(ValueError):
        faces.sample_labels(3, SEED, plant=plant)


def test_gray_hair_comes_with_age_only_and_takes_the_place_of_the_colour():
    labels = faces.sample_labels(2000, SEED, gray=0.7)
    colours = labels[list(faces.HAIR_COLOURS)]
    assert (colours.sum(axis=1) == 1).all()
    assert not labels.loc[labels["Young"] == 1, "Gray_Hair"].any()
    assert 0.6 < labels.loc[labels["Young"] == 0, "Gray_Hair"].mean() < 0.8


def test_a_face_is_repeatable_and_another_index_is_another_face():
    first, second, other = (faces.render(plain(), SEED, index) for index in (4, 4, 5))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    assert np.abs(first[0].astype(int) - other[0]).mean() > 5


@pytest.mark.parametrize("size", [(218, 178), (96, 128)])
def test_shapes_and_types(size):
    image, parts = faces.render(plain(Wearing_Hat=1, Rosy_Cheeks=1), SEED, 0, size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert parts.shape == size and parts.dtype == np.uint32
    assert part(parts, "Wearing_Hat").mean() > 0.05


def test_a_part_is_marked_exactly_where_its_label_says_so():
    labels = faces.sample_labels(30, SEED)
    for index, row in labels.iterrows():
        _, parts = faces.render(row, SEED, index)
        assert int(parts.max()) < 1 << len(DRAWN)
        for name in DRAWN:
            shown = bool(row[name]) != (name in NEGATED)
            assert shown or not part(parts, name).any(), (index, name)
            assert not shown or part(parts, name).sum() > 60, (index, name)


@pytest.mark.parametrize("name", DRAWN)
def test_one_label_changes_only_its_own_part(name):
    labels = faces.sample_labels(12, SEED + 1)
    for index, row in labels.iterrows():
        flipped = faces.flip(row, name)
        changed = [other for other in DRAWN if flipped[other] != row[other]]
        (before, old), (after, new) = (faces.render(r, SEED, index) for r in (row, flipped))
        zone = binary_dilation(part(old | new, *changed), iterations=2)
        difference = np.abs(before.astype(int) - after).max(axis=2)
        assert difference[~zone].max() <= HIDDEN, index
        assert difference[zone].max() > 8, index


@pytest.mark.parametrize("name", DRAWN)
def test_every_part_survives_at_32_pixels(name):
    changes = []
    for index in range(8):
        row = plain()
        before, after = (faces.render(r, SEED, index)[0] for r in (row, faces.flip(row, name)))
        changes.append(np.abs(at32(before) - at32(after)).max())
    assert np.median(changes) > 30


def test_what_is_hidden_is_not_marked():
    bare = faces.render(plain(), SEED, 3)[1]
    covered = faces.render(plain(Wearing_Hat=1), SEED, 3)[1]
    hat = binary_erosion(part(covered, "Wearing_Hat"), iterations=2)
    assert (part(bare, "Brown_Hair") & hat).sum() > 500
    assert not (part(covered, "Brown_Hair") & hat).any()
    assert part(covered, "Brown_Hair").any()


def test_curls_are_high_frequency_and_hair_colour_is_not():
    rows = plain(), plain(Straight_Hair=0, Wavy_Hair=1), plain(Brown_Hair=0, Blond_Hair=1)
    (straight, parts), (curly, _), (blond, _) = (faces.render(row, SEED, 6) for row in rows)
    hair = binary_erosion(part(parts, "Brown_Hair"), iterations=6)
    rough = [np.abs(np.diff(image.astype(float).mean(axis=2), axis=0))[hair[1:]].mean()
             for image in (straight, curly)]
    assert rough[1] > 4 * rough[0]
    assert blond[hair].mean() > straight[hair].mean() + 50


def test_flip_keeps_groups_exclusive_and_comes_back():
    row = plain()
    blond = faces.flip(row, "Blond_Hair")
    assert (blond["Blond_Hair"], blond["Brown_Hair"]) == (1, 0)
    assert faces.flip(blond, "Brown_Hair") == row
    assert faces.flip(faces.flip(row, "Smiling"), "Smiling") == row


def test_ffhq_labels_follow_the_attributes_and_the_picture():
    labels = faces.sample_labels(300, SEED)
    table = [faces.ffhq_labels(row, SEED, index) for index, row in labels.iterrows()]
    ages = np.array([row["age"] for row in table])
    assert ages[labels["Young"] == 1].max() <= 44 and ages[labels["Young"] == 0].min() >= 50
    assert [row["gender"] == "male" for row in table] == (labels["Male"] == 1).tolist()
    worn = [row["glasses"] for row in table]
    assert [w != "NoGlasses" for w in worn] == (labels["Eyeglasses"] == 1).tolist()
    assert {"NoGlasses", "ReadingGlasses", "Sunglasses"} == set(worn)
    clear, dark = (_level_behind_glasses(worn.index(k)) for k in ("ReadingGlasses", "Sunglasses"))
    assert dark < 80 < clear


def _level_behind_glasses(index):
    """Mean level of the frame and lenses of face `index`."""
    image, parts = faces.render(plain(Eyeglasses=1), SEED, index)
    return image[part(parts, "Eyeglasses")].mean()
