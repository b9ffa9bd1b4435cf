"""A figure of matplotlib that a notebook shows, without pyplot and its global state."""

import io

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]

PER_INCH = 96  # pixels of a browser; the picture has more, for sharp screens


class ShownFigure(Figure):
    """A figure that is its own picture when it is the last line of a cell."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture, and the size to show it in."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        width, height = (round(PER_INCH * inches) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}
