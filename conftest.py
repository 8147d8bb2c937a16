"""What is collected for doctests: not what stands on packages that are not installed."""

from importlib.util import find_spec

NEEDS = {
    "triton": "src/selip_core/losses/triton_*.py",
    "dynamic_network_architectures": "src/selip_core/encoders/resenc.py",
}

collect_ignore_glob = [files for package, files in NEEDS.items() if not find_spec(package)]
