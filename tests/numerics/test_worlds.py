"""The generated garments, objects and chest films: labels, parts, and what a finding changes."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from patronus.worlds import chest, garments, objects

SEED = 11
WORLDS = pytest.mark.parametrize("world", [garments, objects, chest],
                                 ids=lambda world: world.__name__.rpartition(".")[2])
CLASSES = pytest.mark.parametrize("world", [garments, objects],
                                  ids=lambda world: world.__name__.rpartition(".")[2])
SHAPES = {garments: (28, 28), objects: (32, 32, 3), chest: (320, 390)}
# what a picture of the class must show, whatever its variant
TELLING = {
    garments: ["sleeves", "legs", "waistband", "skirt", "collar", "straps", "buttons", "laces",
               "handle", "shaft"],
    objects: ["wings", "wheels", "beak", "whiskers", "antlers", "snout", "mouth", "mane", "hull",
              "cargo"],
}


def films(seed=SEED, index=0, **findings):
    """A film with these findings (names with _ for spaces) and no others."""
    row = dict.fromkeys(chest.LABELS, 0.0)
    return chest.render(row | {name.replace("_", " "): v for name, v in findings.items()},
                        seed, index)


def part(world, parts, name):
    return (parts >> np.uint32(world.PARTS.index(name)) & 1).astype(bool)


@WORLDS
def test_names_are_unique_and_parts_fit_in_32_bits(world):
    assert len(set(world.LABELS)) == len(world.LABELS) == (14 if world is chest else 10)
    assert len(set(world.PARTS)) == len(world.PARTS) <= 32


@WORLDS
def test_labels_of_a_row_do_not_depend_on_the_number_of_rows(world):
    few, many = world.sample_labels(7, SEED), world.sample_labels(200, SEED)
    assert few.equals(many.iloc[:7])
    assert not few.equals(world.sample_labels(7, SEED + 1))
    assert len(world.sample_labels(0, SEED)) == 0


@WORLDS
def test_images_are_repeatable_and_of_the_official_shape(world):
    labels = world.sample_labels(6, SEED)
    first = [world.render(labels.iloc[i], SEED, i) for i in range(6)]
    again = [world.render(labels.iloc[i], SEED, i) for i in reversed(range(6))][::-1]
    for (image, parts), (image2, parts2) in zip(first, again, strict=True):
        assert image.dtype == np.uint8 and image.shape == SHAPES[world]
        assert parts.dtype == np.uint32 and parts.shape == SHAPES[world][:2]
        assert np.array_equal(image, image2) and np.array_equal(parts, parts2)
        assert parts.max() < 1 << len(world.PARTS)
    assert not np.array_equal(first[0][0], world.render(labels.iloc[0], SEED + 1, 0)[0])


@CLASSES
def test_classes_are_balanced(world):
    counts = world.sample_labels(4000, SEED)["class"].value_counts()
    assert sorted(counts.index) == list(range(10))
    assert counts.between(330, 470).all()


@CLASSES
def test_class_sets_refuse_a_planted_pair(world):
    with pytest.raises(ValueError, match="plant"):
        world.sample_labels(5, SEED, plant=("sleeves", "collar", 0.9))


@CLASSES
def test_every_class_shows_its_telling_part_inside_the_picture(world):
    for label, name in enumerate(TELLING[world]):
        shown = [part(world, world.render({"class": label}, SEED, i)[1], name).sum()
                 for i in range(20)]
        assert np.mean(np.array(shown) > 2) >= 0.3, (world.LABELS[label], name)


@CLASSES
def test_every_part_is_drawn_by_some_class(world):
    seen = 0
    for i in range(400):
        seen |= int(np.bitwise_or.reduce(world.render({"class": i % 10}, SEED, i)[1], axis=None))
    assert [n for k, n in enumerate(world.PARTS) if not seen >> k & 1] == []


@CLASSES
def test_a_class_is_told_from_the_others_by_its_silhouette(world):
    """Nearest class mean of the part masks: the drawings of a class resemble one another."""
    def shapes(first):
        return np.array([[world.render({"class": c}, SEED, first + i)[1] > 0 for i in range(12)]
                         for c in range(10)], float).reshape(10, 12, -1)
    means, new = shapes(0).mean(axis=1), shapes(100)
    nearest = ((new[:, :, None] - means) ** 2).sum(axis=-1).argmin(axis=-1)
    assert (nearest == np.arange(10)[:, None]).mean() > 0.4


def test_garments_lie_on_black():
    for c in range(10):
        image, parts = garments.render({"class": c}, SEED, c)
        far = ~binary_dilation(parts > 0, iterations=2)
        assert far.sum() > 40 and image[far].max() == 0
        assert image[parts > 0].mean() > 25


def test_finding_names_and_drawn_values_are_the_official_ones():
    labels = chest.sample_labels(3000, SEED)
    assert list(labels.columns) == list(chest.LABELS)
    values = labels.to_numpy()
    assert (np.isin(values, (-1, 0, 1)) | np.isnan(values)).all()
    drawn = labels[list(chest.PARTS)]
    unsure = (drawn == -1) | drawn.isna()
    assert 0.04 < unsure.to_numpy().mean() < 0.06
    assert (drawn == 1).mean().between(0.2, 0.3).all()
    undrawn = labels.drop(columns=[*chest.PARTS, "No Finding"])
    assert undrawn.isna().to_numpy().mean() > 0.9 and {-1, 0} == set(
        np.unique(undrawn.to_numpy()[undrawn.notna().to_numpy()]))


def test_no_finding_follows_from_the_others():
    labels = chest.sample_labels(2000, SEED)
    drawn = labels[list(chest.PARTS)]
    assert (labels["No Finding"] == 1).equals((drawn == 0).all(axis=1))
    assert (labels["No Finding"] == 0).equals((drawn == 1).any(axis=1))
    assert labels["No Finding"].isna().any() and (labels["No Finding"] == 1).mean() > 0.05


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9, 1.0])
def test_planted_findings_agree_as_often_as_asked(strength):
    a, b = "Support Devices", "Pneumothorax"
    labels = chest.sample_labels(3000, SEED, plant=(a, b, strength))
    known = labels[labels[[a, b]].isin((0, 1)).all(axis=1)]
    assert abs((known[a] == known[b]).mean() - strength) < 0.03
    others = labels.drop(columns=[b, "No Finding"])
    assert others.equals(chest.sample_labels(3000, SEED).drop(columns=[b, "No Finding"]))


@pytest.mark.parametrize("plant", [("Edema", "Cardiomegaly", 0.9), ("Cardiomegaly",) * 2 + (0.9,),
                                   ("Cardiomegaly", "Pneumothorax", 1.1)])
def test_a_pair_that_cannot_be_planted_is_refused(plant):
    with pytest.raises(ValueError, match="plant"):
        chest.sample_labels(5, SEED, plant=plant)


@pytest.mark.parametrize("name", chest.PARTS)
@pytest.mark.parametrize("crowded", [False, True])
def test_a_finding_changes_its_own_part_and_nothing_else(name, crowded):
    """The same film with and without it, alone and among all the other findings."""
    others = {n.replace(" ", "_"): float(crowded) for n in chest.PARTS}
    key = name.replace(" ", "_")
    for index in range(3):
        without, _ = films(index=index, **(others | {key: 0.0}))
        film, parts = films(index=index, **(others | {key: 1.0}))
        own, change = part(chest, parts, name), film.astype(int) - without
        assert not change[~own].any()
        if not crowded:
            assert own.mean() < 0.3 and np.abs(change[own]).mean() > 8
            assert (parts[own] == 1 << chest.PARTS.index(name)).all()


def test_absent_findings_leave_no_mask():
    assert not films()[1].any()


def test_uncertain_and_unknown_labels_are_drawn_about_half_of_the_time():
    for value in (-1.0, np.nan):
        shown = [films(index=i, Cardiomegaly=value)[1].any() for i in range(40)]
        assert 10 <= sum(shown) <= 30
    same = (films(index=3, Cardiomegaly=v)[0] for v in (-1.0, np.nan))
    assert np.array_equal(*same)


def test_an_enlarged_heart_is_wider_than_half_the_chest():
    """The cardiothoracic ratio, measured where the heart is widest."""
    for index in range(8):
        rng = np.random.default_rng([SEED, index, 2])
        film = chest.Film(rng)
        row = int(np.argmax((film.heart > 0.5).sum(axis=1)))
        chest_width = 2 * film.wall[row:].max() * film.scale
        normal = (film.heart[row] > 0.5).sum() / chest_width
        film.enlarge(1.32)
        enlarged = (film.heart > 0.5).sum(axis=1).max() / chest_width
        assert 0.35 < normal < 0.5 < enlarged < 0.75


def test_light_and_dark_findings_go_the_right_way():
    plain = films()[0].astype(int)
    for name in chest.PARTS:
        film, parts = films(**{name.replace(" ", "_"): 1.0})
        change = (film - plain)[part(chest, parts, name)].mean()
        assert change < 0 if name == "Pneumothorax" else change > 0, name
