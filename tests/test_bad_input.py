"""What a user can get wrong: every row is a command line that ends with one clear message, before anything is made."""

import dataclasses
import json
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_cli import TINY, fails

from jaxgan import config, parallel
from jaxgan.cli import main
from jaxgan.rundir import Run, make
from jaxgan.train import describe

GAN = config.GANConfig(network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=1)
RUNS = {
    "gan": GAN,
    "conditional": dataclasses.replace(GAN, conditioning="concat"),
    "points": dataclasses.replace(GAN, data="ring"),
    "cyclegan": config.CycleGANConfig(
        a="photos", b="few", image_size=16, generator="unet", depth=2, width=2, d_width=2, layers=1, steps=1
    ),
    "style": config.StyleGAN2Config(
        data="digits", conditional=True, batch=8, channel_base=32, channel_max=4, latent_dim=4, w_dim=4,
        mapping_layers=1, steps=1,
    ),
}  # fmt: skip
# Of lines of a program's text. Single operations on arrays are compiled as they come, and have fewer.
LONG = 250

ROWS = """
# Commands and presets
trian | no command 'trian' | Did you mean 'train' | Allowed: | sweep
train digit | no preset 'digit' | Did you mean 'digits' | gan-ring
train digits --widht 3 | --widht | --width
train digits --width wide | --width | 'wide' | INT
train digits --batch 30.5 | --batch | '30.5' | INT
train digits --network vgg | 'vgg' | 'dcgan', 'resnet', 'mlp'
train digits --dtype float64 | 'float64' | 'bfloat16'
presets extra | extra
presets --foo | --foo

# Numbers of a configuration
train digits --batch 0 | batch is 0 | at least 1
train digits --batch -5 | batch is -5 | at least 1
train digits --batch 5000 | 1797 | 5000 | Set a batch of at most 1797
train digits --batch 1000000000 | 1000000000 | at most 16,777,216 | --batch
train digits --batch 1000000000000 | batch is 1000000000000 | at most 2147483647
train digits --batch 16 --d-steps 2000000000 | 32000000000 | at most 16,777,216
train digits --batch 30 | An update of 30 examples does not divide over 8 devices | 24 or 32 | --devices 6
train digits --microbatches 16 | A microbatch of 4 examples | --devices 4
train digits --microbatches 5 | microbatches is 5 | divide the batch, 64
train digits --seed -1 | seed is -1 | between 0 and 2^32 - 1
train digits --seed 4294967296 | seed is 4294967296 | between 0 and 2^32 - 1
bench digits --seconds 0 | --seconds is 0.0 | above 0
bench no-preset | no preset 'no-preset'
bench digits --compare none.json | none.json is no measurement | jaxgan bench --out
bench digits --out no/such/place.json | no/such/place.json cannot be written
train digits --steps 0 | steps is 0 | at least 1
train digits --steps 3000000000 | steps is 3000000000 | at most 2147483647
train digits --keep 0 | keep is 0 | at least 1
train digits --memory-limit 0 | memory_limit is 0 | at least 1
train digits --samples 1000000000 | samples is 1000000000 | 10,000
train digits --g-lr nan | g_lr is nan | finite
train digits --d-lr inf | d_lr is inf | finite
train digits --g-lr -1 | g_lr is -1.0 | above 0
train digits --d-lr 0 | d_lr is 0.0 | above 0
train digits --b1 2 | b1 is 2.0 | above -1 and below 1
train digits --b1 -0.5 | b1 is -0.5 | penalty_every = 4 | --penalty-every 1
train digits --b2 1 | b2 is 1.0 | at least 0 and below 1
train cyclegan --b1 1 | b1 is 1.0 | at least 0 and below 1
train digits --half-life nan | half_life is nan | finite
train digits --half-life -1 | half_life is -1.0 | at least 0
train digits --penalty inf | penalty is inf | finite
train digits --penalty -1 | gamma is -1.0 | 0 switches the penalty off
train wgan-mnist --clip nan | clip is nan
train wgan-mnist --clip 0 | clip is 0.0 | positive
train digits --clip 0.1 | clip is 0.1 | 'gan_r1' clips no weights | Set it to None
train digits --objective hinge | 'hinge' has no gradient penalty | --penalty None
train digits --objective wassertein | no objective 'wassertein' | Did you mean 'wasserstein' | hinge
train digits --augment adda | 'adda' | 'ada'
train digits $TINY --augment ada --target 5 | target is 5.0 | between -1 and 1
train digits --images-to-one 0 | images_to_one is 0.0 | above 0
train digits --images-to-one inf | images_to_one is inf | finite
train digits --depth 0 | depth is 0 | at least 1
train digits --latent-dim 0 | latent_dim is 0 | at least 1
train digits --width 100000000 | width is 100000000 | at most 65536
train digits --embed 5 | embed is 5 | --conditioning
train digits --decay-steps 0 | decay_steps is 0 | at least 1
train gan-ring --remat | remat is of convolutional networks
train digits --attention 16 | attention and hierarchical are of ResNets | --network resnet
train digits --uniform-labels | uniform_labels is of conditional GANs | --conditioning
train stylegan2-mnist --group 5 | groups of 5 | batch, 16 | --group or --batch
train stylegan2-mnist --mixing 2 | mixing is 2.0 | between 0 and 1

# Modes
modes rings | no benchmark of modes 'rings' | Did you mean 'ring' | grid
modes ring --methods gan,packgan2 | no method 'packgan2' | Did you mean 'pacgan2' | Allowed:
modes ring --seeds 0 | seeds is 0 | between 1 and 1000
modes ring --first-seed -1 | seed is -1 | between 0 and 2^32 - 1
modes ring --steps 0 | steps is 0 | at least 1
modes ring --out ring.png | must end in .json | --out ring.json

# Against collapse
train gan-ring --packing 0 | packing is 0 | at least 1
train gan-ring --packing 3 | packing is 3 | divide the images of an update, 128
train acgan-mnist --packing 2 | packing is 2 | auxiliary classifier | --conditioning concat
train gan-ring --mode-seeking -1 | mode_seeking is -1.0 | at least 0
train gan-ring --minibatch-kernels 0 | minibatch_kernels is 0 | at least 1
train sngan-cifar10 --minibatch-kernels 8 | minibatch_kernels are of an MLP's or DCGAN's

# Rules of games
train digits --rule unroled | 'unroled' | 'unrolled'
train digits --optimizer optimistic_adam | penalty_every = 4 | --penalty-every 1
train gan-mnist --rule-weight 1 | rule_weight is 1.0 | rule is 'alternating' | --rule consensus or symplectic
train gan-mnist --rule consensus --rule-steps 3 | rule_steps is 3 | rule is 'consensus' | --rule unrolled
train gan-mnist --rule unrolled --rule-steps 0 | rule_steps is 0 | at least 1
train gan-mnist --rule consensus --rule-weight -1 | rule_weight is -1.0 | at least 0
train gan-mnist --lookahead-alpha 0.3 | lookahead_alpha is 0.3 | --lookahead 5
train gan-mnist --lookahead 0 | lookahead is 0 | at least 1
train digits $TINY --lookahead 5 --lookahead-alpha 2 | alpha is 2.0 | above 0 and at most 1
train digits $TINY --rule extragradient --d-steps 2 | A rule updates both players once | d_steps = 2
train digits $TINY --rule symplectic --microbatches 2 | takes the batch as a whole | microbatches = 2
train stylegan2-mnist --rule simultaneous | 'simultaneous' | 'extragradient'

# Evaluation in training
train digits --diagnostics | diagnostics are a part of evaluations | --eval-every
train cyclegan --diagnostics | diagnostics are a part of evaluations | --eval-every
train cyclegan --eval-every 2 | eval_every is 2 | its evaluations are diagnostics | --diagnostics
train cyclegan --eval-every 0 --diagnostics | eval_every is 0 | at least 1
train digits --eval-every 0 | eval_every is 0 | at least 1
train digits --eval-metrics fdi | no metric 'fdi' | Did you mean 'fid' | Allowed:
train digits --eval-every 2 --eval-metrics fid,,kid | no metric '' | Allowed:
train digits --eval-every 2 --eval-metrics accuracy | accuracy goes by the classes | conditional GAN | Leave it out
train digits --eval-extractor incepton | no extractor 'incepton' | Did you mean 'inception'
train digits --eval-samples 1 | eval_samples is 1 | at least 2

# Data
train digits --data digitz | no data set 'digitz' | Did you mean 'digits' | folder of images
train digits --data '' | has no name | digits
train digits --data ring | points, not images | --image-size None
train digits --data ring --image-size None | shape (2,) | --network mlp
train digits --data nowhere/ | There is no folder nowhere | Give the path
train digits --data ./file.txt | There is no folder file.txt
train digits --data empty/ | no images in empty | .png, .jpg
train digits --data broken/ | a.png: not an image | b.png: | truncated | Delete or replace
train digits --data deep/ | deep.png: more than 8 bits a channel
train digits --data mixed/ --image-size None | 1.png: 17x16 pixels | set image_size
train digits --data few/ --batch 8 | few | 3 images | 8 | at most 3
train digits --data photos/ --image-size 0 | image_size is 0 | between 1 and 4096
train digits --data photos/ --image-size 100000 | image_size is 100000 | between 1 and 4096
train digits --data photos/ --image-size 17 --batch 16 | 17 x 17 | --image-size 16
train digits --network resnet | (16, 16, 1) | 32 x 32 | --image-size 32
train digits --data photos/ --network resnet --batch 16 | (16, 16, 3) | 32 x 32 | --image-size 32
train digits --data photos/ --split test --batch 16 | no split 'test' | 'train' alone
train digits --data photos/ --conditioning concat --batch 16 | 'photos/' has no labels | --conditioning none
train stylegan2-mnist --data digits --image-size 20 | (20, 20, 1) | 8, 16, 32 | --image-size 32
train digits --split test | no split 'test' | 'train' alone
train dcgan-mnist --data-dir nowhere | mnist is not prepared in nowhere | jaxgan data prepare mnist --data-dir nowhere

# Where a run goes, and on what it runs
train digits $TINY --run file.txt | file.txt is a file | --run
train digits $TINY --run file.txt/run | file.txt/run cannot be made | file.txt is a file | --run
train digits --run gan | gan exists already | jaxgan resume gan | --overwrite
train digits --run photos --overwrite | photos has no config.json | will not be deleted
train digits --engine shardmap | no engine 'shardmap' | Did you mean 'shard_map' | pmap
train digits --devices 0 | 0 devices were asked for | there are 8 | Ask for 1 to 8
train digits --devices 9 | 9 devices were asked for | there are 8 | JAX_NUM_CPU_DEVICES=9
train digits --devices two | --devices | 'two' | INT
train digits --processes 2 | --coordinator, --process-id is missing | leave all three out
train digits --process-id 0 | --coordinator, --processes is missing
train digits --processes 2 --coordinator here --process-id 0 | 'here' | host:port | 10.0.0.1:1234
train digits --processes 2 --coordinator here:1 --process-id 5 | --process-id is 5 | 0 to 1
devices --batch 0 | A batch of 0 examples is none | at least 8
devices --batch 30 | A batch of 30 examples does not divide over 8 devices | 24 or 32
devices --batch x | --batch | 'x'
devices --devices 99 | 99 devices were asked for | there are 8

# Two domains
train cyclegan --a photos --b few | 1 example does not divide over 8 devices | hold 8 | --devices 1
train cyclegan --devices 1 --a photos | only a is given | --a DIR --b DIR
train cyclegan --devices 1 --a photos --b empty --image-size 16 | no images in empty
train cyclegan --devices 1 --a photos --b nowhere --image-size 16 | There is no folder nowhere
train cyclegan --devices 1 --data nowhere | no data set and no folder 'nowhere' | trainA and trainB
train cyclegan --devices 1 --data photos | photos has no folder trainA | --a DIR --b DIR
train cyclegan --devices 1 --a photos --b few --image-size 18 | image_size is 18 | multiple of 4 | 16 or 20
train cyclegan --devices 1 --a photos --b few --image-size 0 | image_size is 0 | between 1 and 4096
train cyclegan --devices 1 --a photos --b few --image-size 32 | 16x16 pixels, fewer than 32 | smaller size
train cyclegan --devices 1 --a photos --b few --image-size 16 --load-size 8 | load_size is 8 | at least 16
train cyclegan --devices 1 --a photos --b few --image-size 16 --paired 100 | are no pairs | 20 and 3 images
train cyclegan --devices 1 --a photos --b few --image-size 16 --generator unet --depth 9 | depth 9 | multiples of 512
train cyclegan --devices 1 --a photos --b few --image-size 16 --layers 9 | layers=9 | 1536 pixels | layers=2
train cyclegan --cycle nan | cycle is nan | finite
train cyclegan --conditional | Set --paired

# Sweeps
sweep digit | no preset 'digit' | Did you mean 'digits'
sweep digits --sweep.batch 16 32 | --sweep.batch
sweep digits --sweep.g-lrr 1 | --sweep.g-lrr | --sweep.g-lr
sweep digits --sweep.g-lr abc | --sweep.g-lr | 'abc'
sweep digits --sweep.g-lr -1 | g_lr is -1.0 | above 0
sweep digits --sweep.g-lr nan | g_lr is nan | finite
sweep digits --sweep.g-lr 1e-3 1e-3 | g_lr | [0.001, 0.001] | each once
sweep digits --sweep.g-lr 0.0001 0.00010000000001 | g_lr=0.0001,seed=0 | differ
sweep digits --seeds 0 | seeds is 0 | at least one
sweep digits --seed 4294967295 --seeds 2 | seed is 4294967296 | 2^32 - 1
sweep digits --eval-every 2 | not evaluated while it trains | jaxgan evaluate RUN
sweep digits --eval-every 2 --diagnostics | nor diagnosed | jaxgan.diagnostics.diagnose
sweep cyclegan --eval-every 2 --diagnostics | nor diagnosed | jaxgan.diagnostics.diagnose
sweep digits --devices 0 | 0 devices were asked for | there are 8
sweep digits $TINY --out file.txt | file.txt/seed=0 cannot be made | file.txt is a file

# Runs
resume | PATH
resume nowhere | nowhere is no run | no config.json | jaxgan train --run nowhere
resume photos | photos is no run
resume gan --steps 0 | steps is 0 | at least 1
resume gan --steps nan | --steps | 'nan' | INT
resume gan --devices 3 | does not divide over 3 devices | 15 or 18
sample nowhere | nowhere is no run | no config.json
sample bad-json | bad-json/config.json | cannot be read as a configuration
sample unknown-field | 'widht' | Did you mean 'width'
sample wrong-type | width is 'wide' | int
sample unknown-recipe | no recipe 'gann' | Did you mean 'gan'
sample bad-value | batch is 0 | at least 1
sample bare | bare | no checkpoint | jaxgan resume bare

# Samples
sample gan --count 0 | count is 0 | 1 to 10,000
sample gan --count 1000000000 | count is 1000000000 | 1 to 10,000
sample gan --count many | --count | 'many' | INT
sample gan --seed -1 | seed is -1 | between 0 and 2^32 - 1
sample gan --seed 99999999999999999999999 | seed is 99999999999999999999999 | 2^32 - 1
sample gan --step 7 | no checkpoint of step 7 | steps 1
sample gan --label 3 | gan is no conditional GAN | Leave the label out
sample conditional --label 10 | holds [10] | Allowed: 0 to 9
sample conditional --label -1 | holds [-1] | Allowed: 0 to 9
sample conditional --label three | --label | 'three' | INT
sample conditional --label 1 --interpolate | --label names 1, not 2
sample conditional --label 1 11 --interpolate | holds [11] | Allowed: 0 to 9
sample conditional --label 1 2 --interpolate --count 1 | at least 2 columns | got 1
sample cyclegan | draws no samples | jaxgan translate cyclegan
sample gan --out photos | 'photos' | end in .png | --out photos.png
sample gan --out folder.png | folder.png is a directory | --out folder.png/out.png
sample gan --out file.txt/x.png | file.txt is a file | --out
sample gan --out /proc/grid.png | /proc/grid.png cannot be made | another place
sample gan --out grid.jpg | 'grid.jpg' | end in .png | --out grid.png
sample gan --out '' | '.' | end in .png | --out out.png

# Translations
translate | PATH
translate nowhere photos | nowhere is no run
translate gan photos | gan is no CycleGAN | jaxgan sample gan
translate style photos | style is no CycleGAN
translate cyclegan | No images are named
translate cyclegan nowhere | no file and no folder nowhere | Name images
translate cyclegan empty | no images in empty | .png, .jpg
translate cyclegan broken | broken/a.png cannot be used: not an image
translate cyclegan deep | deep.png cannot be used: more than 8 bits
translate cyclegan photos --direction ac | no direction 'ac' | Allowed: ab, ba
translate cyclegan photos --size 0 | size is 0 | between 1 and 16384
translate cyclegan photos --size 100000000 | size is 100000000 | between 1 and 16384
translate cyclegan photos --size 16 --full-size | Give one of the two
translate cyclegan photos --batch 0 | batch is 0 | between 1 and
translate cyclegan photos --step 9 | no checkpoint of step 9 | steps 1
translate cyclegan photos --out file.txt | file.txt is a file | --out
translate cyclegan photos --out photos | would replace the image photos/0.png | another --out
translate cyclegan photos few | photos/0.png and few/0.png would both become

# Styles
edit mixng style | no action of `jaxgan edit` 'mixng' | Did you mean 'mixing'
edit truncation nowhere | nowhere is no run
edit mixing gan | gan has no styles | jaxgan presets
edit truncation cyclegan | cyclegan has no styles
edit truncation style --psis nan | psis is nan | finite
edit truncation style --psis | psis = 0 | between 1 and
edit truncation style --count 0 | count = 0 | between 1 and
edit truncation style --count 100000 | count x psis is 600000 | 1 to 10,000
edit truncation style --layers 99 | no layers '99' of 4 | 0 to 3
edit truncation style --layers middling | Did you mean 'middle' | coarse
edit truncation style --seed -1 | seed is -1 | 2^32 - 1
edit truncation style --label 10 | holds [10] | Allowed: 0 to 9
edit truncation style --out x.jpg | 'x.jpg' | end in .png
edit mixing style --rows 0 | rows = 0 | between 1 and
edit mixing style --rows 1000 --columns 1000 | rows x columns is 1000000 | 1 to 10,000
edit mixing style --psi inf | psi is inf | finite
edit mixing style --out file.txt/x.png | file.txt is a file
edit video style --out x.png | 'x.png' | end in .gif | --out x.gif
edit video style --out file.txt/x.gif | file.txt is a file
edit video style --keyframes 1 | at least 2 keyframes | got 1
edit video style --fps 100 | at most 50 fps | 100
edit video style --frames 1000000 | keyframes x frames x count is 54000000 | 1 to 10,000
edit video style --psi nan | psi is nan | finite
edit direction style --method pca | 'pca' | 'sefa'
edit direction style --method label | Name it, label=0
edit direction style --method slant --number 1 | number is 1 | Leave number out
edit direction style --number 4 | number is 4 | 0 to 3
edit direction style --number -1 | number is -1 | 0 to 3
edit direction style --amounts nan | amounts is nan | finite
edit direction style --samples 1 | samples is 1 | 2 to
edit project style | No images are named
edit project style nowhere.png | no file nowhere.png | Name images
edit project style file.txt | file.txt cannot be used: not an image
edit project style broken/b.png | b.png cannot be used: | truncated
edit project style photos/0.png --steps 0 | steps = 0 | between 1 and
edit project style photos/0.png --out photos | 'photos' | end in .png

# Evaluation
evaluate | jaxgan evaluate RUN | --images DIR and --reference DIR
evaluate nowhere | nowhere is no run
evaluate cyclegan | draws no samples | jaxgan translate
evaluate gan --images photos | Leave --images and --reference out
evaluate --images photos | --reference DIR
evaluate gan --metrics fib | no metric 'fib' | Did you mean 'fid'
evaluate gan --metrics '' | no metric '' | Allowed:
evaluate gan --metrics accuracy | accuracy goes by the classes | conditional GAN
evaluate points --metrics intra_fid | intra_fid goes by the classes
evaluate gan --samples 0 | 0 samples | at least 2 samples
evaluate gan --seeds 0 | 0 seeds | 1 seed
evaluate gan --seeds 1000000000 | 1000000000 seeds | at most | 1,000
evaluate gan --step 7 | no checkpoint of step 7 | steps 1
evaluate gan --split nope | no split 'nope' | 'train' alone
evaluate gan --image-size 8 | --image-size is 8 | Leave it out
evaluate gan --extractor incepton | no extractor 'incepton' | Did you mean 'inception'
evaluate gan --extractor digits --weights file.txt | come with jaxgan | Leave the file file.txt out
evaluate gan --weights nowhere.pt | nowhere.pt cannot be read
evaluate gan --weights file.txt | file.txt is not a state dict
evaluate points --extractor digits | points, which are their own features | Name no extractor
evaluate gan --out x.png | 'x.png' | end in .json | --out x.json
evaluate gan --out file.txt/x.json | file.txt is a file
evaluate --images photos --reference nowhere/ | no folder nowhere
evaluate --images photos --reference empty/ | no images in empty
evaluate --images photos --reference mixed | 17x16 pixels | set image_size
evaluate --images photos --reference ring | 'ring' draws points | folder of images
evaluate --images photos --reference few --metrics fdi | no metric 'fdi' | Did you mean 'fid'
evaluate --images photos --reference few --samples 5 | --samples is 5 | Leave it out
evaluate --images photos --reference few --extractor digits | (3, 16, 16, 3) | --extractor inception

# Reports
report | No runs are named
report nowhere | nowhere is no run | no config.json
report photos | photos is no run
report gan nowhere | nowhere is no run
report bad-json | bad-json/config.json | cannot be read as a configuration
report unknown-field | 'widht' | Did you mean 'width'
report gan --out x.png | 'x.png' | end in .html | --out x.html
report gan --out folder.png | 'folder.png' | end in .html
report gan --out file.txt/x.html | file.txt is a file
report gan --smooth 3 | --smooth
watch | No runs are named
watch nowhere | nowhere is no run
watch gan --port -1 | port is -1 | between 1 and 65535
watch gan --port 65536 | port is 65536 | between 1 and 65535
watch gan --port http | --port | 'http' | INT

# Exports
export | PATH
export nowhere | nowhere is no run
export bare | bare has no checkpoint | jaxgan resume bare
export gan --step 7 | no checkpoint of step 7 | steps 1
export gan --step x | --step | 'x' | INT
export gan --platforms | platforms is none | cpu, cuda, tpu
export gan --platforms gpu | no platform 'gpu' | Allowed: cpu, cuda (NVIDIA's GPUs) and tpu
export gan --platforms cpu cpu | platforms is cpu, cpu | each once
export gan --out file.txt | file.txt is a file | --out
export gan --out /proc/made | /proc/made cannot be made | another place

# Data sets
data lst | no action of `jaxgan data` 'lst' | Did you mean 'list'
data list --data-dir nowhere | no directory nowhere | --data-dir
data prepare | STR
data prepare mnit --data-dir few | no data set 'mnit' | Did you mean 'mnist'
data prepare mnist --data-dir file.txt | file.txt is a file | --data-dir
data prepare digits | digits needs no preparing
data prepare stacked_mnist | made of mnist | jaxgan data prepare mnist
data prepare mnist | not installed | pip install 'jaxgan[prepare]'
"""
TABLE = [[part.strip() for part in row.split("|")] for row in ROWS.splitlines() if row and not row.startswith("#")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with runs, images, and what only looks like them."""
    root, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name in ("photos", "few", "mixed", "broken", "deep", "empty", "folder.png"):
        (root / name).mkdir()

    def picture(file: str, width: int = 16) -> None:
        Image.fromarray(rng.integers(0, 256, (16, width, 3), np.uint8)).save(root / file)

    for i in range(20):
        picture(f"photos/{i}.png")
    for i in range(3):
        picture(f"few/{i}.png")
        picture(f"mixed/{i}.png", 16 + i)
    (root / "broken/a.png").write_bytes(b"no picture")
    (root / "broken/b.png").write_bytes((root / "few/0.png").read_bytes()[:400])
    Image.fromarray(rng.integers(0, 1 << 16, (16, 16)).astype(np.uint16)).save(root / "deep/deep.png")
    (root / "file.txt").write_text("no directory, no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, each in RUNS.items():
            write_run(Path(name), each)
    good = RUNS["gan"].as_data()
    for name, text in {
        "bare": json.dumps(good),
        "bad-json": "{",
        "unknown-field": json.dumps(good | {"widht": 8}),
        "wrong-type": json.dumps(good | {"width": "wide"}),
        "unknown-recipe": json.dumps(good | {"recipe": "gann"}),
        "bad-value": json.dumps(good | {"batch": 0}),
    }.items():
        (root / name).mkdir()
        (root / name / "config.json").write_text(text)
    return root


def write_run(path: Path, each: config.Config) -> None:
    """A run with a checkpoint of a state that is zero: nothing is compiled for it."""
    source = each.load()
    gan = each.build(source.shape, source.classes, parallel.jit().axis_name)
    like = jax.eval_shape(gan.init, jax.random.key(0))
    make(path, each, overwrite=False)
    with Run(path, each, describe(each, source), quiet=True) as run:
        run.save(1, {"state": jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)})


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """That directory, which must not change, and where no data set is prepared."""
    monkeypatch.chdir(place)
    for name in ("JAXGAN_DATA", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return place


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """``() -> names of the long programs that were compiled``, of which JAX writes down the text; none is trained."""

    def too_late(*_: object) -> None:
        raise AssertionError("it is accepted, and would be trained")

    monkeypatch.setattr(jax.stages.Lowered, "compile", too_late)
    folder = tmp_path / "programs"
    jax.config.update("jax_dump_ir_to", str(folder))
    yield lambda: [file.name for file in folder.glob("*compile*") if file.read_text().count("\n") > LONG]
    jax.config.update("jax_dump_ir_to", "")


def words_of(line: str) -> list[str]:
    return shlex.split(line.replace("$TINY", " ".join(TINY)))


@pytest.mark.timeout(60)  # a hang is a failure
@pytest.mark.parametrize(("line", "words"), [pytest.param(row[0], row[1:], id=row[0]) for row in TABLE])
def test_bad_input_is_one_clear_error(here, compiled, capsys, line, words):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    message = " ".join(fails(capsys, *words_of(line)).replace("│", " ").split())
    assert all(word in message for word in words), message
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
    assert not compiled()


def test_the_table_has_what_it_promises():
    assert len({line for line, *_ in TABLE}) == len(TABLE) >= 60
    commands = "train resume sweep sample evaluate modes translate edit report watch export bench presets devices data"
    assert {line.split()[0] for line, *_ in TABLE} >= {*commands.split()}
    assert all(words for _, *words in TABLE)


def test_good_input_is_compiled(here, compiled, capsys, tmp_path):
    """What the table does not see is seen here: the smallest program that a command compiles is a long one."""
    main(["sample", "gan", "--count", "4", "--out", str(tmp_path / "grid.png")])
    assert "4 samples" in capsys.readouterr().out and compiled()
