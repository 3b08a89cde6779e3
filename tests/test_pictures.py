"""Pictures show the examples, pixel by pixel."""

import numpy as np
from PIL import Image

from jaxgan import pictures


def test_a_grid_holds_every_image_in_its_place(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (7, 30, 20, 3))
    pictures.save(pixels / 127.5 - 1, tmp_path / "new/grid.png")
    grid = np.asarray(Image.open(tmp_path / "new/grid.png"))
    factor = 512 // (3 * 31 + 1)
    assert grid.shape == (factor * (3 * 31 + 1), factor * (3 * 21 + 1), 3)
    small = grid[::factor, ::factor]
    for i in range(7):
        top, left = (i // 3) * 31 + 1, (i % 3) * 21 + 1
        np.testing.assert_array_equal(small[top : top + 30, left : left + 20], pixels[i])
    np.testing.assert_array_equal(grid, small.repeat(factor, 0).repeat(factor, 1))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["grid.png"]


def test_values_outside_the_range_are_cut_and_not_wrapped():
    grid = np.asarray(pictures.grid(np.array([-3.0, 3.0]).reshape(2, 1, 1, 1)))
    assert set(np.unique(grid)) == {0, 255}


def test_points_are_dark_where_they_lie():
    points = np.array([[0.99, -0.01], [0.99, -0.01], [-0.01, -0.51], [1.0, 1.0]])
    picture = np.asarray(pictures.scatter(points, side=240))
    # The axes span -1.2 to 1.2: a pixel is 0.01, drawn in twos, and rows run downwards.
    twice, once = picture[120:122, 218:220], picture[170:172, 118:120]
    assert (twice == int(255 * np.exp(-2))).all() and (once == int(255 * np.exp(-1))).all()
    assert (picture < 255).sum() == 3 * 4
