"""Build and metadata of tf1bn. The extension is compiled from ext/*.pyx; see README.md."""

import hashlib
import os
import re
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
# One extension for all Pythons from 3.11 on, the first whose limited API has buffers; free-threaded ones have none.
ABI3 = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def read_version():
    # Read as text: importing tf1bn would need the dependencies that this file is about to declare.
    source = (HERE / "tf1bn" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE).group(1)


def sources():
    return sorted(path for path in (HERE / "ext").iterdir() if path.suffix in (".pyx", ".pxd", ".h"))


def source_hash():
    # tf1bn/_native/__init__.py computes the same over a source checkout, to refuse an extension built from older code.
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def extension(name):
    return Extension(
        f"tf1bn._native.{name}",
        [f"ext/{name}.pyx"],
        # The macros below come from these, so a change there is a reason to compile again.
        depends=["setup.py", "tf1bn/__init__.py", *(str(path.relative_to(HERE)) for path in sources())],
        include_dirs=["ext"],
        define_macros=[
            ("TF1BN_VERSION", f'"{read_version()}"'),
            ("TF1BN_SOURCE_HASH", f'"{source_hash()}"'),
            *([("Py_LIMITED_API", "0x030B0000")] if ABI3 else []),
        ],
        py_limited_api=ABI3,
        # No contraction into fused multiply-add: the error-free transformations need every operation rounded. Nobody
        # reads errno or the exception flags, for which roots and choices would not be vectorized.
        extra_compile_args=[
            *("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
            "-Werror=implicit-function-declaration",
        ],
    )


class Source(sdist):
    """An sdist with the extension's source, in whose place cythonize puts the generated C, and without tests."""

    def make_release_tree(self, base_dir, files):
        kept = [path for path in files if Path(path).parts[0] != "tests"]
        super().make_release_tree(base_dir, [*kept, *(str(path.relative_to(HERE)) for path in sources())])


report = ["matplotlib>=3.8", "jinja2>=3.1"]

setup(
    name="tf1bn",
    version=read_version(),
    description="The batch_norm of TensorFlow 1.x on today's TensorFlow, and a checker of moving statistics",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["tf1bn", "tf1bn.*"]),
    package_data={
        "tf1bn": ["*.pyi", "py.typed", "schemas/*.json"],
        "tf1bn._native": ["*.pyi"],
        "tf1bn.contrib": ["*.pyi"],
        "tf1bn.legacy.explain": ["*.json"],
        "tf1bn.reports.page": ["*.jinja", "*.css", "*.js"],
    },
    python_requires=">=3.10",
    install_requires=["numpy>=1.26", "rich>=13"],
    extras_require={
        "tensorflow": ["tensorflow>=2.16", *report],
        "report": report,
        # For `tf1bn run`: Python 2 sources, tf.layers of the same release as TensorFlow, and much of tf.contrib.slim.
        "legacy": ["fissix>=24.4", "tf_keras>=2.16", "tf_slim>=1.1"],
        # For `tf1bn.recorders.flax`.
        "flax": ["flax>=0.12", "jax>=0.8"],
        # Files of Keras, safetensors and TensorFlow Lite; all other formats are read with NumPy.
        "checkpoints": ["h5py>=3.10", "safetensors>=0.4", "tflite>=2.10"],
        # For `--scheduler`, and for arrays and bags of Dask.
        "dask": ["dask[array,distributed]>=2025.1", "fsspec>=2024.6"],
        # For `tf1bn --print-completion`.
        "completion": ["shtab>=1.6"],
    },
    entry_points={"console_scripts": ["tf1bn = tf1bn.cli.main:main"]},
    ext_modules=cythonize(
        [extension(path.stem) for path in sources() if path.suffix == ".pyx"],
        build_dir="build/cython",
        include_path=["ext"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            # True: what the extensions keep at module level is written once, at import.
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"sdist": Source},
    options={
        "build_ext": {"parallel": os.cpu_count()},
        **({"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {}),
    },
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Cython",
        "Programming Language :: Python :: 3",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)],
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
