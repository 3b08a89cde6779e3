"""`jaxgan edit`, as a user calls it."""

import numpy as np
import pytest
from PIL import Image
from test_cli import fails

from jaxgan import config, parallel
from jaxgan.cli import main
from jaxgan.train import train

STYLED = config.StyleGAN2Config(
    data="digits", conditional=True, batch=8, channel_base=32, channel_max=4, latent_dim=4, w_dim=4, mapping_layers=1,
    steps=1, samples=4,
)  # fmt: skip
PLAIN = config.GANConfig(data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=1)


@pytest.mark.slow
def test_every_action_writes_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train(STYLED, "run", engine=parallel.jit(), quiet=True)
    Image.fromarray(np.full((20, 30), 128, np.uint8)).save("photo.png")

    main(["edit", "truncation", "run", "--count", "3", "--psis", "0", "1"])
    picture = np.asarray(Image.open("truncation.png"))
    assert picture.shape[0] / picture.shape[1] == (3 * 9 + 1) / (2 * 9 + 1)
    main(["edit", "mixing", "run", "--rows", "2", "--columns", "4", "--layers", "fine", "--out", "m.png"])
    picture = np.asarray(Image.open("m.png"))
    assert picture.shape[0] / picture.shape[1] == (3 * 9 + 1) / (5 * 9 + 1)
    main(["edit", "video", "run", "--keyframes", "2", "--frames", "3", "--count", "4"])
    assert Image.open("video.gif").n_frames == 6
    for method in (["sefa"], ["slant"], ["label", "--label", "3"]):
        out = f"{method[0]}.png"
        main(["edit", "direction", "run", "--method", *method, "--count", "2", "--samples", "64", "--out", out])
        picture = np.asarray(Image.open(out))
        assert picture.shape[0] / picture.shape[1] == (2 * 9 + 1) / (7 * 9 + 1)
    main(["edit", "project", "run", "photo.png", "--steps", "3"])
    assert "photo.png: mean absolute difference" in capsys.readouterr().out
    main(["sample", "run", "--count", "4", "--label", "3"])
    assert "4 samples" in capsys.readouterr().out
    assert "There are no layers '9' of 4" in fails(capsys, "edit", "mixing", "run", "--layers", "9")


def test_what_has_no_styles(tmp_path, capsys):
    assert "no action of `jaxgan edit` 'mixng'. Did you mean 'mixing'" in fails(capsys, "edit", "mixng", "run")
    assert "nowhere is no run" in fails(capsys, "edit", "truncation", str(tmp_path / "nowhere"))
    train(PLAIN, tmp_path / "plain", engine=parallel.jit(), quiet=True)
    assert "has no styles" in fails(capsys, "edit", "mixing", str(tmp_path / "plain"))
