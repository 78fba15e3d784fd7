"""The job queue of the studio: states, order, limits and recovery."""

import contextlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from impasto.errors import ImageFileError, OptionError
from impasto.studio.database import Database
from impasto.studio.events import Hub
from impasto.studio.gallery import DiskFullError, Gallery
from impasto.studio.jobs import Jobs, Order, QueueFullError, StateError
from impasto.studio.settings import Limits, Settings
from impasto.studio.storage import Folder, Lock, new_identity


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Database(tmp_path / "studio.db"), Hub(), 5)


def order(kind: str = "paint", lane: str = "slow", **others: Any) -> Order:
    return Order(kind=kind, lane=lane, request={"kind": kind}, **others)


def result(job: str) -> dict[str, Any]:
    numbers = {"created": 0.0, "width": 8, "height": 8, "bytes": 100, "disk": 150, "seconds": 1.0, "draft": 0}
    texts = {"kind": "paint", "suffix": ".png", "title": "x", "upload": None, "styles": "[]", "request": "{}", "record": "{}"}
    return {"id": "r" + job[1:], "job": job, **numbers, **texts}


def test_jobs_are_taken_by_priority_and_then_by_age(jobs: Jobs) -> None:
    first, second, urgent = (jobs.submit(order(priority=priority))[0]["id"] for priority in (0, 0, 5))
    assert [jobs.take("slow")["id"] for _ in range(3)] == [urgent, first, second]  # type: ignore[index]
    assert jobs.take("slow") is None


def test_a_lane_takes_only_its_own_jobs(jobs: Jobs) -> None:
    jobs.submit(order())
    assert jobs.take("quick") is None


def test_a_full_queue_refuses_jobs_and_says_when_to_retry(jobs: Jobs) -> None:
    for _ in range(5):
        jobs.submit(order())
    with pytest.raises(QueueFullError, match="5 jobs are waiting") as caught:
        jobs.submit(order())
    assert caught.value.retry_seconds >= 1


def test_the_same_key_returns_the_same_job(jobs: Jobs) -> None:
    first, is_new = jobs.submit(order(key="a"))
    again, is_new_again = jobs.submit(order(key="a"))
    assert (is_new, is_new_again) == (True, False)
    assert first["id"] == again["id"]


def test_a_new_draft_replaces_waiting_drafts_in_its_slot(jobs: Jobs) -> None:
    first = jobs.submit(order(draft=True, slot="preview"))[0]["id"]
    other = jobs.submit(order(draft=True, slot="another"))[0]["id"]
    jobs.submit(order(draft=True, slot="preview"))
    assert jobs.get(first)["state"] == "cancelled"
    assert jobs.get(other)["state"] == "queued"


def test_a_result_and_the_state_done_are_written_together(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.take("slow")
    jobs.finish(job, result(job))
    jobs.finish(job, result(job))  # a second call must not add a second result
    assert jobs.get(job)["state"] == "done"
    assert len(jobs.database.rows("SELECT * FROM results")) == 1


def test_an_unwritable_result_leaves_the_job_unchanged(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.take("slow")
    with pytest.raises(sqlite3.IntegrityError):
        jobs.finish(job, result(job) | {"record": None})
    assert jobs.get(job)["state"] == "running"
    assert jobs.database.rows("SELECT * FROM results") == []


def test_a_cancelled_job_has_no_result_even_if_its_worker_finished(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.take("slow")
    jobs.want(job, "cancelled")
    jobs.stopped(job)
    jobs.finish(job, result(job))
    assert jobs.get(job)["state"] == "cancelled"
    assert jobs.database.rows("SELECT * FROM results") == []


def test_running_jobs_are_requeued_in_place_after_a_restart(jobs: Jobs) -> None:
    first, second = (jobs.submit(order())[0]["id"] for _ in range(2))
    jobs.take("slow")
    jobs.checkpoint(first, {"scale": 1})
    assert jobs.requeue() == 1
    taken = jobs.take("slow")
    assert taken is not None
    assert (taken["id"], taken["attempts"], json.loads(taken["checkpoint"])) == (first, 2, {"scale": 1})
    assert jobs.get(second)["state"] == "queued"


@pytest.mark.parametrize("wanted", ["cancelled", "paused"])
def test_a_stop_request_takes_effect_after_a_restart(jobs: Jobs, wanted: Any) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.take("slow")
    jobs.want(job, wanted)
    jobs.requeue()
    assert jobs.get(job)["state"] == wanted


def test_a_job_that_has_not_stopped_cannot_be_continued(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    with pytest.raises(StateError, match="is queued and cannot be continued"):
        jobs.again(job, from_start=False)
    jobs.want(job, "cancelled")
    with pytest.raises(StateError, match="has no checkpoint and cannot be continued; retry it"):
        jobs.again(job, from_start=False)
    assert jobs.again(job, from_start=True)["state"] == "queued"


def test_waiting_jobs_have_a_position_and_an_estimated_time(jobs: Jobs) -> None:
    rows = [jobs.submit(order())[0] for _ in range(3)]
    shown = [jobs.shown(jobs.get(row["id"])) for row in rows]
    assert [each["position"] for each in shown] == [0, 1, 2]
    assert shown[0]["eta_seconds"] < shown[1]["eta_seconds"] < shown[2]["eta_seconds"]


def test_the_estimated_time_includes_the_running_job_and_the_number_of_workers(jobs: Jobs) -> None:
    running, waiting = (jobs.submit(order())[0]["id"] for _ in range(2))
    jobs.take("slow")
    own = jobs.typical("paint")
    assert jobs.shown(jobs.get(waiting))["eta_seconds"] == 2 * own
    jobs.progressed(running, {"step": 9, "seconds_left": 10.0}, preview=False)
    assert jobs.shown(jobs.get(waiting))["eta_seconds"] == 10.0 + own
    jobs.at_once["slow"] = 2
    assert jobs.shown(jobs.get(waiting))["eta_seconds"] == 5.0 + own


def test_every_change_has_a_larger_number_and_only_the_newest_is_sent_again(jobs: Jobs) -> None:
    first, second = (jobs.submit(order())[0] for _ in range(2))
    jobs.prioritize(first["id"], 3)
    changed = jobs.changed_since(second["version"] - 1)
    assert [row["id"] for row in changed] == [second["id"], first["id"]]
    assert changed[0]["version"] < changed[1]["version"]


def test_many_threads_take_each_job_once(tmp_path: Path) -> None:
    jobs = Jobs(Database(tmp_path / "studio.db"), Hub(), 1000)
    wanted = {jobs.submit(order())[0]["id"] for _ in range(60)}
    taken: list[str] = []

    def work() -> None:
        while (job := jobs.take("slow")) is not None:
            taken.append(job["id"])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 60
    assert set(taken) == wanted


class QueueMachine(RuleBasedStateMachine):
    """For any sequence of operations, no job is lost or repeated, and every finished job has one result."""

    @initialize()
    def begin(self) -> None:
        self.jobs = Jobs(Database(Path(":memory:")), Hub(), 6)
        self.known: set[str] = set()

    def pick(self, index: int) -> str | None:
        return sorted(self.known)[index % len(self.known)] if self.known else None

    @rule(priority=st.integers(-10, 10), draft=st.booleans())
    def submit(self, priority: int, draft: bool) -> None:
        try:
            self.known.add(self.jobs.submit(order(priority=priority, draft=draft, slot="a" if draft else None))[0]["id"])
        except QueueFullError:
            assert self.jobs.counts()["queued"] == 6

    @rule()
    def take(self) -> None:
        self.jobs.take("slow")

    @rule(index=st.integers(0, 50), how=st.sampled_from(["finish", "fail", "stopped", "checkpoint"]))
    def worker_says(self, index: int, how: str) -> None:
        if job := self.pick(index):
            {
                "finish": lambda: self.jobs.finish(job, result(job)),
                "fail": lambda: self.jobs.fail(job, {"code": "x", "message": "x", "field": None}),
                "stopped": lambda: self.jobs.stopped(job),
                "checkpoint": lambda: self.jobs.checkpoint(job, {"scale": 0}),
            }[how]()

    @rule(index=st.integers(0, 50), how=st.sampled_from(["cancelled", "paused", "finish", "again", "retry", "delete"]))
    def user_says(self, index: int, how: Any) -> None:
        if job := self.pick(index):
            try:
                if how == "delete":
                    self.jobs.delete(job)
                    self.known.discard(job)
                elif how in ("again", "retry"):
                    self.jobs.again(job, from_start=how == "retry")
                else:
                    self.jobs.want(job, how)
            except (StateError, QueueFullError):
                pass

    @rule()
    def restart(self) -> None:
        self.jobs.requeue()
        assert self.jobs.counts()["running"] == 0

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        rows = {row["id"]: row for row in self.jobs.database.rows("SELECT * FROM jobs")}
        assert set(rows) == self.known
        made = {row["job"] for row in self.jobs.database.rows("SELECT job FROM results")}
        assert {job for job, row in rows.items() if row["state"] == "done"} == made & set(rows)
        for row in rows.values():
            self.jobs.shown(row)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


# ---------------------------------------------------------------------------------------------------- folder and gallery


def test_only_valid_ids_become_paths(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    assert folder.upload(new_identity("u")).parent == tmp_path / "data" / "uploads"
    for name in ("../../etc/passwd", "u_0123456789abcde", "u_0123456789ABCDEF", "", "u_0123456789abcdef/..", "x"):
        with pytest.raises(ImageFileError, match="is not an id of this studio"):
            folder.upload(name)


def test_only_one_studio_can_use_a_folder(tmp_path: Path) -> None:
    with Lock(tmp_path), pytest.raises(OptionError, match="another studio uses"), Lock(tmp_path):
        pass
    with Lock(tmp_path):
        pass


def test_a_file_that_is_not_a_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(ImageFileError, match=r"is damaged .* give another folder with --data"):
        Database(tmp_path / "studio.db")


def gallery(tmp_path: Path, disk_bytes: int) -> Gallery:
    folder = Folder(tmp_path / "data")
    return Gallery(Database(folder.database), folder, Hub(), Limits(disk_bytes=disk_bytes))


def add_result(found: Gallery, *, draft: bool, disk: int) -> str:
    job = new_identity("j")
    values = result(job) | {"draft": int(draft), "disk": disk}
    found.database.insert("results", values)
    found.folder.result(values["id"], ".png").write_bytes(b"x")
    return str(values["id"])


def test_drafts_are_deleted_to_free_space_and_kept_results_never(tmp_path: Path) -> None:
    found = gallery(tmp_path, disk_bytes=1000)
    kept, draft = add_result(found, draft=False, disk=500), add_result(found, draft=True, disk=400)
    found.make_room(300)
    assert [row["id"] for row in found.results(10, None, None, None, "")] == [kept]
    assert not found.folder.result(draft, ".png").exists()
    with pytest.raises(DiskFullError, match="delete some results first"):
        found.make_room(600)
    assert found.folder.result(kept, ".png").exists()


def test_orphaned_files_are_deleted(tmp_path: Path) -> None:
    found = gallery(tmp_path, disk_bytes=1000)
    kept = add_result(found, draft=False, disk=1)
    orphans = [found.folder.result(new_identity("r"), ".png"), found.folder.upload(new_identity("u"), ".jpg")]
    orphans += [
        found.folder.work(new_identity("j"), ".npy"),
        found.folder.made(".zip"),
        tmp_path / "data/results/.impasto-1.part",
    ]
    for path in orphans:
        path.write_bytes(b"x")
    assert found.sweep() == len(orphans)
    assert found.folder.result(kept, ".png").exists()


def test_a_studio_on_a_public_address_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is reachable from other machines and needs a token"):
        Settings(host="0.0.0.0", data=tmp_path)
    with pytest.raises(OptionError, match="--port is 0; it must be a number from 1 to 65535"):
        Settings(port=0, data=tmp_path)
    assert Settings(host="127.0.0.2", data=tmp_path).is_local


def test_a_database_of_version_1_is_upgraded_with_its_checkpoints(tmp_path: Path, jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.take("slow")
    jobs.checkpoint(job, {"scale": 1})
    jobs.database.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "studio.db")) as old:
        old.executescript(
            "ALTER TABLE jobs RENAME COLUMN checkpoint TO stood; ALTER TABLE uploads DROP COLUMN clip; PRAGMA user_version=1;"
        )
    with contextlib.closing(Database(tmp_path / "studio.db")) as database:
        (row,) = database.rows("SELECT checkpoint FROM jobs WHERE id = ?", (job,))
    assert json.loads(row["checkpoint"]) == {"scale": 1}
