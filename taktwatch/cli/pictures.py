"""What begins with pictures: inspect, calibrate, product new."""

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from taktwatch.cli.shell import ConfigOption, Exit, JsonOption, app, configure_logging, err, out, read_config
from taktwatch.clock import now
from taktwatch.errors import ConfigError

__all__ = ["calibrate", "inspect", "product_app"]

product_app = typer.Typer(name="product", help="Products and their golden templates.", no_args_is_help=True)
app.add_typer(product_app)


@app.command()
def inspect(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    template: Annotated[
        Path | None, typer.Option(help="The golden template; default: ID_temp.* beside ID_test.*, else the product's.")
    ] = None,
    product: Annotated[str | None, typer.Option(help="What the pictures show; default: the first station's.")] = None,
    config: ConfigOption = None,
    overlay: Annotated[Path | None, typer.Option(help="Write pictures with the findings drawn on them here.")] = None,
    json: JsonOption = False,
) -> None:
    """Inspect pictures and say what was found, one line a picture; exit 1 when one could not be inspected.

    Pictures too large for one piece (panels) are read by rows and inspected in strips; of them no overlay is drawn.
    """
    from taktwatch.inspection import inspect_files

    configure_logging(logging.WARNING)
    settings = read_config(config)
    chosen = product or next((station.product for station in settings.stations), None)
    if chosen is None:
        raise ConfigError("no product to inspect for; name one with --product")
    failed = False
    for answer in inspect_files(settings, chosen, pictures, template=template, overlay=overlay):
        failed = failed or answer.error is not None
        if json:
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
            sys.stdout.flush()
        elif answer.error is not None:
            err.print(f"taktwatch: {answer.error}", style="red", highlight=False, markup=False, soft_wrap=True)
        else:
            reasons = "; ".join(answer.reasons or ()) or "nothing found"
            out.print(f"{answer.file}: {answer.verdict} - {reasons}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(Exit.NO)


@app.command()
def calibrate(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures of the board, moved between them.")] = None,
    columns: Annotated[int, typer.Option(min=3, max=20, help="Squares across the board.")] = 11,
    rows: Annotated[int, typer.Option(min=3, max=20, help="Squares down the board.")] = 8,
    square_mm: Annotated[float, typer.Option(min=0.01, help="Side of a square as printed, in mm.")] = 2.0,
    error_share: Annotated[float, typer.Option(min=0, max=0.1, help="How far squares may be off, as a share.")] = 0.001,
    valid_days: Annotated[int, typer.Option(min=1, help="Out of date after so many days.")] = 180,
    out_file: Annotated[Path, typer.Option("--out", help="Where to write.")] = Path("calibration.json"),
    print_file: Annotated[
        Path | None, typer.Option("--print", help="Draw the board as a picture here, and stop.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a camera's scale and distortion by pictures of a ChArUco board lying where the products lie."""
    from detector.products.calibration import calibrate_pictures, print_target, save_calibration
    from detector.products.camera import CharucoTarget

    target = CharucoTarget(columns=columns, rows=rows, square_mm=square_mm, error_share=error_share)
    if print_file is not None:
        print_target(target, print_file)
        out.print(f"{print_file}: print it so that a square measures {square_mm:g} mm", highlight=False, markup=False)
        return
    found = calibrate_pictures(pictures or [], target, now=now(), valid=timedelta(days=valid_days))
    save_calibration(found, out_file)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    out.print(
        f"{out_file}: {found.um_per_px_x:.3f} +- {found.uncertainty_um_per_px_x:.3f} um per px in x, "
        f"{found.um_per_px_y:.3f} +- {found.uncertainty_um_per_px_y:.3f} in y; the lens moves points by up to "
        f"{found.distortion_px:.1f} px; corners within {found.reprojection_px:.2f} px (RMS) of {found.views} views; "
        f"until {found.expires_at:%Y-%m-%d}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@product_app.command("new")
def product_new(
    name: Annotated[str, typer.Argument(help="The product's name, as line.toml has it.")],
    boards: Annotated[Path, typer.Option("--from", help="A folder with 3 to 64 pictures of good boards.")],
    um_per_px: Annotated[
        float | None,
        typer.Option(min=0.001, help="Scale of the pictures; default: the calibration's, else line.toml's."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json of the camera; refused out of date.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Where product folders are.")] = Path("products"),
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Build a golden template from good boards: their median, how far they stray, how their pictures should look."""
    from detector.products.calibration import load_calibration
    from detector.products.product import find_boards, make_product

    at = now()
    camera = None if calibration is None else load_calibration(calibration, at)
    known = read_config(config).products.get(name)
    scale = um_per_px or (None if camera is None else camera.um_per_px) or (None if known is None else known.um_per_px)
    if scale is None:
        raise ConfigError(f"what scale? line.toml has no product {name!r}; give --um-per-px or --calibration")
    if um_per_px is not None and camera is not None:
        raise ConfigError("--um-per-px and --calibration both tell the scale; give one")
    files = find_boards(boards)
    view = "board" if known is None else known.view
    card = make_product(name, files, out_dir, um_per_px=scale, now=at, calibration=camera, view=view)
    if json:
        sys.stdout.write(msgspec.json.encode(card).decode() + "\n")
        return
    fits = min(source.quality for source in card.sources)
    made = "no template" if card.template_sha256 is None else f"template {card.template_sha256[:12]}"
    out.print(
        f"{out_dir / name}: version {card.version} from {len(files)} boards (the worst fits {fits:.3f}), {made}\n"
        f'In line.toml: folder = "{out_dir / name}"'
        + ("" if camera is None else f" and um_per_px = {card.um_per_px:.4g}"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
