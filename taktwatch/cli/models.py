"""Models and the engines that run them: models list, show, add, import, activate, shadow, export, verify ..."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from taktwatch.app import open_line
from taktwatch.cli.shell import (
    BusOption,
    ConfigOption,
    Exit,
    JsonOption,
    PrefixOption,
    app,
    boards_progress,
    out,
    read_config,
    with_signals,
)
from taktwatch.clock import now
from taktwatch.errors import BadInput

__all__ = ["models_app"]

models_app = typer.Typer(name="models", help="Models and the engines that run them.", no_args_is_help=True)
app.add_typer(models_app)
ModelArgument = Annotated[str, typer.Argument(help="A model's folder, or its name in the models folder.")]


@models_app.command("list")
def models_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the models of the models folder."""
    from detector.registry import list_models
    from detector.tables import print_models

    cards = list_models(read_config(config).detector.models_dir)
    if json:
        for card in cards:
            sys.stdout.write(card.model_dump_json() + "\n")
    else:
        print_models(out, cards)


@models_app.command("show")
def models_show(model: ModelArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what is known of a model, and which engines were proven to run it here."""
    from detector.evaluation.runner import model_folder
    from detector.proving.proofs import made_here, shipped
    from detector.registry import read_card
    from detector.screening import read_screenings
    from detector.tables import print_model, print_screenings

    settings = read_config(config)
    folder = model_folder(settings, model)
    card = read_card(folder)
    if json:
        sys.stdout.write(card.model_dump_json() + "\n")
    else:
        print_model(out, card, made_here(settings.detector.engines_dir, card), shipped(folder, card))
        print_screenings(out, read_screenings(folder, card.model_id))


@models_app.command("add")
def models_add(
    folder: Annotated[Path, typer.Argument(help="A model's folder, as training leaves it.")],
    name: Annotated[str | None, typer.Option(help="Its name in the models folder; default: the card's.")] = None,
    config: ConfigOption = None,
) -> None:
    """Take a model into the models folder, checked: weights those its card names, a licence, a spec that fits."""
    from detector.registry import add_model, read_card

    models_dir = read_config(config).detector.models_dir
    card = add_model(folder, models_dir, name or read_card(folder).name)
    out.print(f"{models_dir / (name or card.name)}: {card.model_id}", highlight=False, soft_wrap=True)


@models_app.command("import")
def models_import(
    file: Annotated[
        Path, typer.Argument(help="A state_dict of torchvision's Mask or Faster R-CNN: .pth, .safetensors")
    ],
    name: Annotated[str, typer.Option(help="Its name in the models folder.")],
    licence: Annotated[str, typer.Option(help="Under which terms the file came.")],
    source: Annotated[str, typer.Option(help="Where the file came from.")],
    commercial_use: Annotated[
        bool | None,
        typer.Option(
            "--commercial-use/--no-commercial-use",
            help="Do its data and the weights it started from (ImageNet's, mostly) allow it? Default: unknown.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Bring in a COCO checkpoint (ResNet-50 or 101, FPN) to train from; a file with code in it is refused."""
    from detector.importing import import_checkpoint

    models_dir = read_config(config).detector.models_dir
    card = import_checkpoint(file, models_dir, name=name, licence=licence, source=source, commercial_use=commercial_use)
    out.print(
        f"{models_dir / name}: {card.model_id}, {card.spec.backbone}, {len(card.spec.classes)} classes, "
        f"commercial use {'allowed' if card.commercial_use else 'refused'}",
        highlight=False,
        soft_wrap=True,
    )


@models_app.command("merge")
def models_merge(
    first: ModelArgument,
    second: ModelArgument,
    name: Annotated[str, typer.Option(help="Its name in the models folder.")],
    share: Annotated[float, typer.Option(min=0.01, max=0.99, help="How far from the first to the second.")] = 0.5,
    style: Annotated[str, typer.Option(help="How the simulator draws the boards it is measured on.")] = "plain",
    config: ConfigOption = None,
) -> None:
    """Make a model of the mean of two models' weights, of which one was trained on from the other."""
    from detector.evaluation.runner import model_folder
    from detector.registry import load_model
    from detector.training.merge import merge_models
    from detector.training.settings import find_style

    settings = read_config(config)
    one, other = (load_model(model_folder(settings, model)) for model in (first, second))
    out_dir = settings.detector.models_dir / name
    card = merge_models(one, other, out_dir, share=share, style=find_style(style))
    out.print(f"{out_dir}: {card.model_id}, {card.ancestry}", highlight=False, soft_wrap=True)


@models_app.command("activate")
def models_activate(
    model: Annotated[str, typer.Argument(help="Its name in the models folder.")],
    product: Annotated[str, typer.Option(help="Which product it inspects from now on.")],
    author: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    boards: Annotated[int, typer.Option(min=1, help="Golden boards that engine and reference are compared on.")] = 100,
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
) -> None:
    """Let a model inspect a product: refused for its licence on a commercial line, and for an engine that drifts."""
    from detector.activation import check_activation
    from taktwatch.activation import activation_of, publish_activation

    settings = read_config(config, bus=bus, prefix=prefix)
    with boards_progress(f"{model} for {product}", boards, quiet=False) as advance:
        card = check_activation(settings, product, model, boards=boards, on_boards=advance)
    chosen = activation_of(settings, product, model, model_id=card.model_id, author=author, reason=reason, at=now())

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            await publish_activation(line.bus, line.topics, chosen)

    with_signals(work)
    out.print(f"{card.model_id} inspects {product!r} from now on", highlight=False, soft_wrap=True)


@models_app.command("shadow")
def models_shadow(
    model: Annotated[str, typer.Argument(help="Its name in the models folder; none to end it.")],
    product: Annotated[str, typer.Option(help="Beside which product's model it runs.")],
    author: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
) -> None:
    """Let a model run beside the one that inspects a product: on the same frames, counted by nobody."""
    from detector.registry import load_model
    from taktwatch.activation import activation_of, as_activated, publish_activation, read_activations

    settings = read_config(config, bus=bus, prefix=prefix)
    beside = "" if model == "none" else model
    if beside:
        load_model(settings.detector.models_dir / beside)

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            known = await read_activations(line.bus, line.topics, settings.line, [product])
            serving = as_activated(settings, known).product(product).model
            model_id = known[product].model_id if product in known and known[product].model == serving else ""
            chosen = activation_of(
                settings, product, serving, model_id=model_id, shadow=beside, author=author, reason=reason, at=now()
            )
            await publish_activation(line.bus, line.topics, chosen)

    with_signals(work)
    words = f"{beside} runs beside it from now on" if beside else "no model runs beside it any more"
    out.print(f"product {product!r}: {words}", highlight=False, soft_wrap=True)


@models_app.command("shadow-report")
def models_shadow_report(
    product: Annotated[str, typer.Option(help="Of which product.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])
    ] = None,
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the model that runs beside with the counted one, on the frames that both saw (`since`: UTC)."""
    from detector.evaluation.shadowing import words_of
    from detector.shadow_report import shadow_report

    settings = read_config(config, bus=bus, prefix=prefix)
    start = None if since is None else since.replace(tzinfo=UTC)

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            said = await shadow_report(line.bus, line.topics, product, since=start)
        if said is None:
            raise BadInput(f"no frame of {product!r} was seen by two models; see `taktwatch models shadow`")
        text = msgspec.json.encode(said).decode() if json else "\n".join(words_of(said))
        out.print(text, highlight=False, soft_wrap=True)

    with_signals(work)


@models_app.command("export")
def models_export(
    model: ModelArgument,
    engine: Annotated[str, typer.Option(help="openvino, openvino-int8, onnx; or torchscript, for C++.")],
    config: ConfigOption = None,
) -> None:
    """Export a model for a runtime; done by itself where a line wants it."""
    from detector.engines.export import export_parts
    from detector.engines.exported import known_format
    from detector.evaluation.runner import model_folder
    from detector.registry import load_model

    settings = read_config(config)
    kind = known_format(engine)
    export = export_parts(load_model(model_folder(settings, model)), kind, settings.detector.engines_dir)
    out.print(f"{export.folder}: {', '.join(sorted(export.card.files))}", highlight=False, soft_wrap=True)


@models_app.command("verify")
def models_verify(
    model: ModelArgument,
    engine: Annotated[list[str], typer.Option(help="Each of those that `detector.engine` may name, but auto.")],
    boards: Annotated[int, typer.Option(min=1, help="Simulated boards; a line wants 3000.")] = 3000,
    ship: Annotated[
        bool,
        typer.Option(help="Put proofs, and exports in 8 bits, beside the model, too, for other machines like this."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare engines with the reference and keep the proofs a line asks for; exit 1 where one differs too much.

    What was said of each board is kept: an interrupted run goes on, and further engines find the reference ready.
    """
    from detector.engines.export import SHIPPED, export_parts, ship_export
    from detector.evaluation.runner import model_folder
    from detector.proving.choose import known_engine
    from detector.proving.parity import shortfalls
    from detector.proving.proofs import ship_proofs
    from detector.proving.verify import verify
    from detector.registry import load_model
    from detector.tables import print_parity

    settings = read_config(config)
    names = [known_engine(name) for name in dict.fromkeys(engine)]
    loaded = load_model(model_folder(settings, model))
    with boards_progress(f"{loaded.card.name} {', '.join(names)}", boards, quiet=json) as advance:
        parities = verify(settings, loaded, names, boards=boards, on_boards=advance)
    for parity in parities.values():
        if json:
            sys.stdout.write(parity.model_dump_json() + "\n")
        else:
            print_parity(out, parity)
    if ship:
        proven = {name: one for name, one in parities.items() if one.export_sha256 and not shortfalls(one)}
        ship_proofs(loaded, proven.values())
        for kind in SHIPPED:
            if kind in proven:
                ship_export(loaded, export_parts(loaded, kind, settings.detector.engines_dir))
    if any(map(shortfalls, parities.values())):
        raise typer.Exit(Exit.NO)


@models_app.command("calibrate")
def models_calibrate(
    model: ModelArgument,
    dataset: Annotated[str, typer.Option(help="Validation boards, good and defective: a folder, or sim:board?...")],
    product: Annotated[
        str | None, typer.Option(help="Whose defect rate and costs; default: deeppcb for its format, else the first.")
    ] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Each of these; default: torch.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Learn what a model's scores are worth, and the thresholds that cost least; writes calibration.json beside it."""
    from detector.evaluation.calibrating import calibrate_model
    from detector.evaluation.datasets import open_dataset
    from detector.proving.choose import known_engine
    from detector.tables import print_calibrations

    settings = read_config(config)
    names = [known_engine(name) for name in engine or ["torch"]]
    boards = open_dataset(dataset)
    with boards_progress(f"{model} calibrate", len(boards.items), quiet=json) as advance:
        made = calibrate_model(settings, model, boards, engines=names, product=product, on_board=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_calibrations(out, made)


@models_app.command("screen")
def models_screen(
    model: ModelArgument,
    dataset: Annotated[str, typer.Option(help="Validation boards with defects: a folder, or sim:board?...")],
    product: Annotated[
        str | None, typer.Option(help="Whose limit and rules; default: deeppcb for its format, else the first.")
    ] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Each of these; default: torch.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Measure what is missed if the network looks only where the template differs; exit 1 where it is too much."""
    from detector.evaluation.datasets import open_dataset
    from detector.evaluation.runner import choose_product
    from detector.evaluation.screening import measure_screen
    from detector.proving.choose import known_engine
    from detector.screening import objection
    from detector.tables import print_screenings

    settings = read_config(config)
    names = [known_engine(name) for name in engine or ["torch"]]
    boards = open_dataset(dataset)
    rules = settings.product(choose_product(settings, boards, product))
    with boards_progress(f"{model} screen", len(boards.items), quiet=json) as advance:
        made = measure_screen(settings, model, boards, engines=names, product=product, on_board=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_screenings(out, made, rules.screen_max_miss)
    if any(objection(one, rules) for one in made):
        raise typer.Exit(Exit.NO)


@models_app.command("bench")
def models_bench(
    model: ModelArgument,
    engine: Annotated[list[str] | None, typer.Option(help="Only these; default: all that are installed.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a batch.")] = 4,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Time engines in turns against plain torchvision on simulated pictures, this machine, one run."""
    from detector.evaluation.runner import model_folder
    from detector.proving.bench import bench_model, machine
    from detector.proving.choose import known_engine
    from detector.registry import load_model
    from detector.tables import print_paces

    settings = read_config(config)
    names = [known_engine(name) for name in engine or []] or None
    loaded = load_model(model_folder(settings, model))
    where = machine()
    with boards_progress(f"{loaded.card.name} bench", rounds, quiet=json) as advance:
        paces = bench_model(settings.detector, loaded, names, rounds=rounds, batch=batch, on_round=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(paces).decode() + "\n")
    else:
        print_paces(out, paces, where, batch)
