"""Pages that are one file: a Jinja template with its style sheet and figures inside."""

import base64
import io
from pathlib import Path

import jinja2
from markupsafe import Markup

from tokenscope.figures import style
from tokenscope.report.texts import shown
from tokenscope.stores.receipts import write_text


def render(template: str | Path, page: str | Path, **values) -> None:
    """Fill a template and write the page; a value that the template lacks is an error.

    Its filter ``shown`` says names with underscores in words, or as code.
    """
    source = Path(template).read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = lambda text: shown(text, [])
    write_text(page, environment.from_string(source).render(**values))


def picture(figure, alt: str, kind: str = "svg", dpi: int = 130) -> Markup:
    """A figure as an ``img`` that holds its own data: ``svg``, or ``png`` for maps."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    width = round(96 * figure.get_figwidth())
    style.plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    form = "svg+xml" if kind == "svg" else kind
    return Markup('<img alt="{}" width="{}" src="data:image/{};base64,{}">').format(
        alt, width, form, data
    )
