"""terraseek finds things in archives of satellite and aerial imagery.

The search path (`terraseek.archive`, `terraseek.search`, `terraseek.encoders`) never imports torch;
the training path (`terraseek.losses`, `terraseek.models`, `terraseek.training`) needs `terraseek[train]`.
"""

from importlib.metadata import version as _version

__version__ = _version("terraseek")
__all__ = ["__version__"]
