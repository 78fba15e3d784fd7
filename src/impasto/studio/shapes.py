"""Models of requests and responses. Requests are validated; responses are described for OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from impasto.studio.controls import KINDS

MASK = r"^(u_[0-9a-f]{16}|(not:)?(all|(auto|gradient):[a-z0-9]+(-[a-z0-9]+)*))$"
"""Pattern of a mask: the id of an upload, or the name of a computed mask, but never a file name."""

UploadId = Annotated[str, StringConstraints(pattern=r"^u_[0-9a-f]{16}$")]
ClipId = Annotated[str, StringConstraints(pattern=r"^c_[0-9a-f]{16}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^j_[0-9a-f]{16}$")]
ResultId = Annotated[str, StringConstraints(pattern=r"^r_[0-9a-f]{16}$")]
StyleId = Annotated[str, StringConstraints(pattern=r"^([us]_[0-9a-f]{16}|[a-z0-9]+(-[a-z0-9]+)*)$", max_length=100)]
KindName = Literal["instant", "paint", "refine", "doodle", "apply", "brush", "report", "tune", "video"]
BrushId = Annotated[str, StringConstraints(pattern=r"^(r_[0-9a-f]{16}|[a-z0-9]+(-[a-z0-9]+)*)$", max_length=100)]
MOST_PHOTOS = 400
MaskId = Annotated[str, StringConstraints(pattern=MASK, max_length=100)]
State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
Format = Literal["png", "jpeg", "webp"]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Priority = Annotated[int, Field(ge=-10, le=10, strict=True)]
_Favorite = Annotated[bool | None, Field(validation_alias=AliasChoices("favorite", "favourite"))]
"""``favourite`` is the earlier name of ``favorite``. Requests may still use the earlier name. Responses contain both names, and
also both ``license`` and its earlier name ``licence``."""

assert set(KINDS) == set(KindName.__args__)  # type: ignore[attr-defined]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewJob(_Input):
    """A job to submit."""

    kind: KindName = Field(
        description="instant: one pass; paint: the painter; refine: one pass, then the painter; doodle: paint a map of flat "
        "colors; apply: paint with a brush; brush: train a brush; report: measure results; tune: compare settings on a sheet; "
        "video: paint a clip."
    )
    content: UploadId | None = Field(None, description="The photo: the id of an upload.")
    styles: list[StyleId] = Field(default_factory=list, max_length=8, description="One to eight ids of styles or uploads.")
    masks: list[MaskId] = Field(
        default_factory=list,
        max_length=8,
        description="One mask per style, or none: ids of uploads or names of masks.",
    )
    protect: list[MaskId] = Field(
        default_factory=list,
        max_length=8,
        description="Masks of regions that stay unchanged: uploads, or names such as auto:skin.",
    )
    map: UploadId | None = Field(None, description="doodle only: the id of the upload with the map of the result.")
    style_map: UploadId | None = Field(
        None, description="doodle only: the id of the upload with the map of the style picture. Default: the suggested map."
    )
    brush: BrushId | None = Field(
        None, description="apply and video: the id of a result of kind brush, or the name of an included brush."
    )
    clip: ClipId | None = Field(None, description="video only: the id of a clip.")
    sound: Annotated[bool, Field(strict=True)] = Field(
        True, description="video only: whether the result has the sound of the clip."
    )
    photos: list[UploadId] = Field(
        default_factory=list,
        max_length=MOST_PHOTOS,
        description="brush only: ids of uploads to train with. Default: the built-in photos.",
    )
    result: ResultId | None = Field(None, description="refine only, instead of content and styles: the result to refine.")
    results: list[ResultId] = Field(
        default_factory=list,
        max_length=8,
        description="report only: the results to measure. They are compared with their own photo and styles.",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options that differ from the defaults in /recipes.")
    run: dict[str, Any] = Field(default_factory=dict, description="Device, precision, seed, threads.")
    priority: Priority = Field(0, description="Jobs of higher priority run first.")
    draft: bool = Field(False, description="Keep the result out of the gallery and delete it after a day.")
    slot: str | None = Field(None, max_length=100, description="A new draft cancels waiting drafts in the same slot.")


class Continuation(_Input):
    """How to continue a job."""

    steps: int | None = Field(None, ge=1, le=100_000, strict=True, description="Additional steps for a finished painting.")


class JobChanges(_Input):
    """Changes of a job."""

    priority: Priority


class NewStyle(_Input):
    """A style to add."""

    upload: UploadId
    title: str = Field("", max_length=200)


class StyleChanges(_Input):
    """Changes of a style."""

    favorite: _Favorite = None
    title: Title | None = None


class ResultChanges(_Input):
    """Changes of a result."""

    favorite: _Favorite = None
    title: Title | None = None
    draft: bool | None = None


class Failure(BaseModel):
    """An error. Its message is one sentence."""

    code: str
    message: str
    field: str | None


class Problem(BaseModel):
    """An error response."""

    error: Failure


class Disk(BaseModel):
    """Disk usage of uploads and results in bytes."""

    used: int
    quota: int


class Bounds(BaseModel):
    """Limits of the studio."""

    upload_bytes: int
    clip_bytes: int
    pixels: int
    job_seconds: float
    memory_bytes: int


class Status(BaseModel):
    """Status of the studio."""

    version: str
    ready: bool
    queued: int
    running: int
    queue_limit: int
    disk: Disk
    limits: Bounds
    event: int


class Control(BaseModel):
    """An option as a form control."""

    name: str
    kind: Literal["integer", "number", "boolean", "text", "choice", "integers", "numbers", "texts"]
    default: Any
    minimum: float | None
    maximum: float | None
    zero: bool
    choices: list[str] | None
    help: str
    basic: bool
    group: str


class Recipe(BaseModel):
    """A kind of job and its options."""

    kind: str
    fields: list[Control]


class Method(BaseModel):
    """A method of the painter: its defaults, the defaults of each ``quality``, and the options that it ignores."""

    defaults: dict[str, Any]
    ignored: list[str]
    qualities: dict[str, dict[str, Any]]


class Recipes(BaseModel):
    """Every kind of job, the options that all kinds share, and the methods and presets of the painter."""

    recipes: list[Recipe]
    run: list[Control]
    methods: dict[str, Method]
    presets: dict[str, dict[str, Any]]


class Upload(BaseModel):
    """A photo, a style picture or a mask."""

    id: str
    name: str
    width: int
    height: int
    bytes: int
    created: float
    sha256: str
    notes: list[str]
    image: str
    thumb: str


class Uploads(BaseModel):
    """A page of uploads."""

    items: list[Upload]
    next: int | None


class Clip(BaseModel):
    """A clip. ``frames`` and ``seconds`` are estimates from its header; ``sounds`` are the codecs of its sound tracks."""

    id: str
    name: str
    width: int
    height: int
    bytes: int
    created: float
    sha256: str
    frames: int
    seconds: float
    rate: float
    sounds: list[str]
    image: str
    thumb: str


class Prediction(BaseModel):
    """The predicted seconds of painting a clip with the method ``paint``, and the size of its frames."""

    seconds: float
    width: int
    height: int


class Clips(BaseModel):
    """A page of clips."""

    items: list[Clip]
    next: int | None


class Style(BaseModel):
    """A style."""

    id: str
    title: str
    artist: str
    date: str
    source: str
    license: str
    licence: str
    origin: Literal["shipped", "named", "upload"]
    favorite: bool
    favourite: bool
    preview: str


class Styles(BaseModel):
    """All styles."""

    items: list[Style]


class Progress(BaseModel):
    """Progress of a painting."""

    step: int
    steps: int
    share: float
    size: list[int]
    losses: dict[str, float | None]
    seconds: float
    note: str


class Job(BaseModel):
    """A job."""

    id: str
    kind: str
    state: State
    version: int
    priority: int
    draft: bool
    created: float
    started: float | None
    finished: float | None
    attempts: int
    continues: str | None
    request: dict[str, Any]
    progress: Progress | None
    eta_seconds: float | None
    position: int | None
    can_continue: bool
    preview: str | None
    error: Failure | None
    result: str | None


class Jobs(BaseModel):
    """A page of jobs."""

    items: list[Job]
    next: int | None


class Result(BaseModel):
    """A result: a painted picture, a painted clip or a sheet."""

    id: str
    job: str
    kind: str
    created: float
    width: int
    height: int
    bytes: int
    title: str
    seconds: float
    favorite: bool
    favourite: bool
    draft: bool
    upload: str | None
    clip: str | None
    styles: list[str]
    image: str
    thumb: str
    video: str | None


class FullResult(Result):
    """A result with its record and its request."""

    record: dict[str, Any]
    request: dict[str, Any]


class Results(BaseModel):
    """A page of results."""

    items: list[Result]
    next: int | None


class Brush(BaseModel):
    """A brush: an included one, or one that was trained in this studio."""

    id: str
    title: str
    artist: str
    origin: Literal["shipped", "trained"]
    preview: str | None


class Brushes(BaseModel):
    """All brushes."""

    items: list[Brush]


class LiveRuntime(BaseModel):
    """The browser runtime."""

    version: str
    here: bool
    bytes: int
    address: str


class Live(BaseModel):
    """Runtime of the webcam page."""

    runtime: LiveRuntime


class LiveBrush(BaseModel):
    """A brush of the webcam page. ``network`` is the address of its ONNX graph."""

    id: str
    title: str
    artist: str
    origin: Literal["shipped", "own"]
    preview: str | None
    network: str


class LiveBrushes(BaseModel):
    """The brushes of the webcam page."""

    items: list[LiveBrush]
