"""What is collected for doctests: not what stands on packages that are not installed."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType

NEEDS = {
    "dynamic_network_architectures": "src/selip_core/encoders/resenc.py",
    "timm": "src/selip_core/encoders/slicewise.py",
    "triton": "src/selip_core/losses/triton_*.py",
}

collect_ignore_glob = [files for package, files in NEEDS.items() if not find_spec(package)]


class AnyName(type):
    """A class that has whatever it is asked for."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class StandIn(ModuleType):
    """A module of classes that nobody uses."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyName(name, (), {})


class TimmWithoutTorchvision(MetaPathFinder):
    """Import timm where torchvision is not installed.

    timm imports torchvision for its data sets and image transforms, which no network needs, and
    torchvision works only beside the very build of torch that it was compiled for.
    """

    modules = ("datasets", "ops", "ops.misc", "transforms", "transforms.functional")

    def find_spec(self, name, path=None, target=None):
        """Return timm's own spec, to be run beside stand-ins for torchvision."""
        if name != "timm" or find_spec("torchvision"):
            return None
        spec = PathFinder.find_spec(name)
        if spec:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self.run(run, module)
        return spec

    def run(self, run, module):
        """Run the module, and leave no stand-in behind."""
        names = ["torchvision", *(f"torchvision.{name}" for name in self.modules)]
        sys.modules.update({name: StandIn(name) for name in names})
        for name in names[1:]:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[name])
        try:
            run(module)
        finally:
            for name in names:
                del sys.modules[name]


sys.meta_path.insert(0, TimmWithoutTorchvision())


def pytest_addoption(parser):
    """Add the options of the campaigns."""
    parser.addoption(
        "--campaign-scale", type=float, default=1, help="factor on the cases of each campaign"
    )
    parser.addoption(
        "--campaign-results", metavar="NAME", help="keep the counts as benchmarks/results/NAME.json"
    )
