"""Why a volume cannot be used, said by the code that reads it, which does not know its place."""


class UnusableVolumeError(Exception):
    """The message says what was needed, what came and what to do, without path or value."""
