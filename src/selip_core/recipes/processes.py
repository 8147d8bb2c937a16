"""Compare the number of launched processes with the number that takes part in training."""

import os

_LAUNCHERS = {
    "WORLD_SIZE": "torchrun or accelerate launch",
    "LOCAL_WORLD_SIZE": "torchrun or accelerate launch",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun or srun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "SLURM_STEP_NUM_TASKS": "srun",
}
"""Variables in which launchers leave the number of processes that they started."""


def require_processes(taking_part: int) -> None:
    """Check that every process that was launched takes part in one training.

    Processes that know nothing of each other would each train the whole run, into one folder.

    Args:
        taking_part: The processes among which the work is divided.

    Raises:
        ValueError: If a launcher started another number, or a variable that it sets holds none.

    Example:
        >>> require_processes(taking_part=1)
    """
    for variable, launcher in _LAUNCHERS.items():
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        if not text.isdecimal():
            raise ValueError(
                f"the environment variable {variable} must be a number of processes, got {text!r}; "
                "unset it"
            )
        if int(text) != taking_part:
            raise ValueError(
                f"{text} processes were launched ({variable}={text}, set by {launcher}) and "
                f"{taking_part} takes part in the training: each of the others would train the "
                f"same run again; start the command once, or unset {variable} if it is a leftover"
            )
