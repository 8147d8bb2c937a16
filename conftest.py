"""What is collected for doctests: not the kernels where their compiler is missing."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["src/selip_core/losses/triton_*.py"]
