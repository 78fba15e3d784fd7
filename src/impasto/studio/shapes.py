"""What goes in and out of the API: checked on the way in, described on the OpenAPI page on the way out."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from impasto.studio.controls import KINDS

MASK = r"^(u_[0-9a-f]{16}|(not:)?(all|(auto|gradient):[a-z0-9]+(-[a-z0-9]+)*))$"
"""An upload, or the name of a mask that is computed; never a file."""

UploadId = Annotated[str, StringConstraints(pattern=r"^u_[0-9a-f]{16}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^j_[0-9a-f]{16}$")]
ResultId = Annotated[str, StringConstraints(pattern=r"^r_[0-9a-f]{16}$")]
StyleId = Annotated[str, StringConstraints(pattern=r"^([us]_[0-9a-f]{16}|[a-z0-9]+(-[a-z0-9]+)*)$", max_length=100)]
KindName = Literal["instant", "paint", "refine", "report", "tune"]
MaskId = Annotated[str, StringConstraints(pattern=MASK, max_length=100)]
State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
Format = Literal["png", "jpeg", "webp"]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Priority = Annotated[int, Field(ge=-10, le=10, strict=True)]
_Favorite = Annotated[bool | None, Field(validation_alias=AliasChoices("favorite", "favourite"))]
"""``favourite`` is the earlier name, which requests may still use and answers still contain; likewise ``licence``."""

assert set(KINDS) == set(KindName.__args__)  # type: ignore[attr-defined]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewJob(_Input):
    """A job that is asked for."""

    kind: KindName = Field(
        description="instant: one pass; paint: the painter; refine: one pass, then the painter; report: results are measured; "
        "tune: settings are tried on a sheet."
    )
    content: UploadId | None = Field(None, description="The photo, an upload.")
    styles: list[StyleId] = Field(default_factory=list, max_length=8, description="One to eight ids of styles, or of uploads.")
    masks: list[MaskId] = Field(
        default_factory=list,
        max_length=8,
        description="None, or where each style paints: an upload or the name of a mask each.",
    )
    protect: list[MaskId] = Field(
        default_factory=list, max_length=8, description="What stays the photo: uploads, or names such as auto:skin."
    )
    result: ResultId | None = Field(None, description="Refine only, instead of content and styles: go on from this result.")
    results: list[ResultId] = Field(
        default_factory=list, max_length=8, description="Report only: what is measured, beside its own photo and styles."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="What differs from the defaults of /recipes.")
    run: dict[str, Any] = Field(default_factory=dict, description="Device, precision, seed, threads.")
    priority: Priority = Field(0, description="Higher goes first.")
    draft: bool = Field(False, description="The result stays out of the gallery and is cleaned up after a day.")
    slot: str | None = Field(None, max_length=100, description="A new draft cancels those that wait in the same slot.")


class Continuation(_Input):
    """How a painting goes on."""

    steps: int | None = Field(None, ge=1, le=100_000, strict=True, description="More steps, of a job that is done.")


class JobChanges(_Input):
    """What of a job may be changed."""

    priority: Priority


class NewStyle(_Input):
    """A style that is asked for."""

    upload: UploadId
    title: str = Field("", max_length=200)


class StyleChanges(_Input):
    """What of a style may be changed."""

    favorite: _Favorite = None
    title: Title | None = None


class ResultChanges(_Input):
    """What of a result may be changed."""

    favorite: _Favorite = None
    title: Title | None = None
    draft: bool | None = None


class Failure(BaseModel):
    """What went wrong, in one sentence."""

    code: str
    message: str
    field: str | None


class Problem(BaseModel):
    """The answer to a request that cannot be done."""

    error: Failure


class Disk(BaseModel):
    """Bytes of uploads and results."""

    used: int
    quota: int


class Bounds(BaseModel):
    """How much of everything."""

    upload_bytes: int
    pixels: int
    job_seconds: float
    memory_bytes: int


class Status(BaseModel):
    """How the studio is."""

    version: str
    ready: bool
    queued: int
    running: int
    queue_limit: int
    disk: Disk
    limits: Bounds
    event: int


class Control(BaseModel):
    """One option, as a page shows it."""

    name: str
    kind: Literal["integer", "number", "boolean", "text", "choice", "integers", "numbers", "texts"]
    default: Any
    minimum: float | None
    maximum: float | None
    zero: bool
    choices: list[str] | None
    help: str
    basic: bool


class Recipe(BaseModel):
    """A kind of job and its options."""

    kind: str
    fields: list[Control]


class Method(BaseModel):
    """A method of the painter: its own defaults, those of its qualities, and the options that it does not read."""

    defaults: dict[str, Any]
    ignored: list[str]
    qualities: dict[str, dict[str, Any]]


class Recipes(BaseModel):
    """Every kind of job, what all have in common, and the methods and presets of the painter."""

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


class Style(BaseModel):
    """A style on the shelf."""

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
    """The shelf."""

    items: list[Style]


class Progress(BaseModel):
    """How far a painting is."""

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
    """A painted picture."""

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
    styles: list[str]
    image: str
    thumb: str


class FullResult(Result):
    """A painted picture with how it came about."""

    record: dict[str, Any]
    request: dict[str, Any]


class Results(BaseModel):
    """A page of results."""

    items: list[Result]
    next: int | None


class LiveRuntime(BaseModel):
    """What computes in the page."""

    version: str
    here: bool
    bytes: int
    address: str


class LiveNetwork(BaseModel):
    """What is computed there; the sides of its pictures are multiples of ``sides``."""

    address: str
    sides: int


class Live(BaseModel):
    """What the webcam page works with."""

    runtime: LiveRuntime
    network: LiveNetwork


class LiveStyle(BaseModel):
    """A style as the network takes it: its modulation, and mean and covariance of its colors."""

    modulation: list[float]
    mean: list[float]
    covariance: list[list[float]]
