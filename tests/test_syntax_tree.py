"""No code of this project runs what it loads: a scan of every syntax tree, which itself is tested."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("jaxgan", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

# Modules whose readers run what they read; pickletools, which disassembles, is another.
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "jsonpickle", "runpy"}
NAMES = {"eval", "exec", "__import__", "os.system", "os.popen", "pty.spawn", "shutil.unpack_archive", "torch.load"}
NAMES |= {f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__")}
NAMES |= {"subprocess.getoutput", "subprocess.getstatusoutput"}
YAML = {"yaml.safe_load", "yaml.safe_load_all", "yaml.safe_dump", "yaml.YAMLError"}
ARCHIVES = {"zipfile", "tarfile"}


def faults(source: str) -> list[str]:
    """What a module has that could run what it loads, or write where an archive says."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # what imported names stand for
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                names[each.asname or top] = each.name if each.asname else top
                found += [each.name] if top in MODULES else []
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            names |= {each.asname or each.name: f"{module}.{each.name}" for each in node.names}
            found += [module] if module.partition(".")[0] in MODULES else []

    def called(node: ast.AST) -> str:
        """A dotted name in full: "numpy.load" of np.load; an attribute of an expression begins with a dot."""
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        return f"{called(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    archives = {name.partition(".")[0] for name in names.values()} & ARCHIVES
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):  # also where it is only passed on
            name = called(node)
            unsafe = name.startswith("yaml.") and name not in YAML
            unsafe |= name.startswith(("os.exec", "os.spawn", "os.posix_spawn"))
            unsafe |= bool(archives) and name.endswith((".extract", ".extractall"))
            if name in NAMES or unsafe:
                found.append(name)
        if not isinstance(node, ast.Call):
            continue
        name, options = called(node.func), {each.arg: each.value for each in node.keywords}

        def is_false(option: str, options: dict = options) -> bool:
            return isinstance(options.get(option), ast.Constant) and options[option].value is False

        checks = {
            "compile": name == "compile",
            "import_module": name.endswith("import_module")
            and not (node.args and isinstance(node.args[0], ast.Constant)),
            "numpy.load": name == "numpy.load" and not is_false("allow_pickle"),
            "allow_pickle": "allow_pickle" in options and not is_false("allow_pickle"),
            "shell": "shell" in options and not is_false("shell"),
            # Of Pillow's many formats, some run other programs.
            "PIL.Image.open": name == "PIL.Image.open" and "formats" not in options,
            "**": None in options and name in ("numpy.load", "PIL.Image.open", "subprocess.run", "subprocess.Popen"),
        }
        found += [what for what, is_fault in checks.items() if is_fault]
    return found


def test_there_are_files_to_scan():
    scanned = {path.relative_to(ROOT).as_posix() for path in FILES}
    assert {"jaxgan/cli.py", "jaxgan/metrics/torch_file.py", "benchmarks/classifier.py"} <= scanned


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_loaded_runs_code(path):
    # The command line may start its own process anew, with the words that it was started with.
    allowed = ["os.execve"] if path.name == "tuning.py" else []
    assert faults(path.read_text()) == allowed


@pytest.mark.parametrize(
    "source, fault",
    [
        ("import pickle", "pickle"),
        ("import pickle as safe", "pickle"),
        ("from pickle import loads", "pickle"),
        ("def f():\n    import dill", "dill"),
        ("import cloudpickle", "cloudpickle"),
        ("import cPickle", "cPickle"),
        ("import marshal", "marshal"),
        ("import shelve", "shelve"),
        ("from joblib import load", "joblib"),
        ("import joblib.externals", "joblib.externals"),
        ("import runpy", "runpy"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("import yaml\nyaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("from yaml import full_load as read\nread(text)", "yaml.full_load"),
        ("eval(text)", "eval"),
        ("map(eval, texts)", "eval"),
        ("import builtins as b\nb.exec(text)", "builtins.exec"),
        ("exec(text)", "exec"),
        ("compile(text, '', 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("import importlib\nimportlib.import_module(name)", "import_module"),
        ("from importlib import import_module as get\nget(f'{a}.b')", "import_module"),
        ("import numpy as np\nnp.load(path)", "numpy.load"),
        ("from numpy import load\nload(path)", "numpy.load"),
        ("import numpy\nnumpy.load(path, allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load(path, allow_pickle=flag)", "allow_pickle"),
        ("import numpy as np\nnp.load(path, **options)", "**"),
        ("import numpy as np\nnp.lib.format.read_array(file, allow_pickle=True)", "allow_pickle"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("import shutil\nshutil.unpack_archive(path)", "shutil.unpack_archive"),
        ("import tarfile\nwith tarfile.open(path) as tar:\n    tar.extractall(folder)", "tar.extractall"),
        ("import zipfile\nzipfile.ZipFile(path).extract(name)", ".extract"),
        ("from zipfile import ZipFile\nZipFile(path).extractall()", ".extractall"),
        ("import os\nos.system(command)", "os.system"),
        ("from os import system as run\nrun(command)", "os.system"),
        ("import os\nos.execv(path, args)", "os.execv"),
        ("import os\nos.popen(command)", "os.popen"),
        ("import subprocess\nsubprocess.run(command, shell=True)", "shell"),
        ("from subprocess import Popen\nPopen(command, shell=flag)", "shell"),
        ("import subprocess\nsubprocess.getoutput(command)", "subprocess.getoutput"),
        ("from PIL import Image\nImage.open(path)", "PIL.Image.open"),
    ],
)
def test_the_scan_finds_what_is_forbidden(source, fault):
    assert fault in faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickletools\npickletools.genops(stream)",
        "import yaml\nyaml.safe_load(text)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import importlib\nimportlib.import_module('jaxgan.nn')",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "import jax\njax.jit(f).lower(x).compile()\njax.eval_shape(f, x)",
        "import zipfile\nzipfile.ZipFile(path).read(name)",
        "from jaxgan.metrics import extract\nextract(extractor, images)",
        "from PIL import Image\nImage.open(path, formats=('PNG',))",
    ],
)
def test_the_scan_lets_pass_what_is_not(source):
    assert not faults(source)
