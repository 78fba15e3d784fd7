"""The studio in its own process, with workers and HTTP requests."""

import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest

import studio_pieces as pieces
from impasto import images
from studio_hostile import HOSTILE, RUBBISH
from studio_pieces import running_program, uploaded_photo

FIXTURES = (running_program, uploaded_photo)
pytestmark = pytest.mark.slow
STYLE = "great-wave"


def opened(response: httpx.Response) -> PIL.Image.Image:
    assert response.status_code == 200, response.text
    return PIL.Image.open(io.BytesIO(response.content))


# ---------------------------------------------------------------------------------------------------- instant pictures


def test_an_upload_is_shown_upright_small_and_without_gps(running: pieces.Program) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0)})
    exif[0x010F] = "SecretCamera"
    data = pieces.photo((200, 100), exif=exif.tobytes())
    found = running.client.post("/uploads", params={"name": "C:\\photos\\<b>me</b>.jpg"}, content=data).json()
    assert (found["width"], found["height"], found["name"]) == (
        100,
        200,
        "<b>me<b>.jpg".replace("<b>.", "</b>.").rpartition("/")[2],
    )
    for address in (found["image"], found["thumb"]):
        response = running.client.get(f"http://127.0.0.1:{running.port}{address}")
        assert opened(response).size == (100, 200)
        assert b"SecretCamera" not in response.content
        assert not dict(opened(response).getexif())


def test_an_instant_picture_is_painted_kept_and_exported_without_exif(running: pieces.Program) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "SecretCamera"
    upload = running.upload(pieces.photo((160, 120), exif=exif.tobytes()), "holiday.jpg")
    job = running.wait_until(running.submit("instant", upload, [STYLE], size=96)["id"], "done", "failed")
    assert job["error"] is None
    result = running.client.get(f"/results/{job['result']}").json()
    assert (result["width"], result["height"], result["title"]) == (96, 72, "holiday.jpg")
    assert result["record"]["styles"][0]["name"] == STYLE
    for kind in ("png", "jpeg", "webp"):
        for record in (True, False):
            response = running.client.get(f"/results/{result['id']}/export", params={"format": kind, "record": record})
            picture = opened(response)
            assert (picture.size, picture.format) == ((96, 72), kind.upper())
            assert b"SecretCamera" not in response.content
            assert 'filename="holiday.' in response.headers["content-disposition"]
            path = running.data.parent / f"export.{kind}"
            path.write_bytes(response.content)
            found = images.read_record(path)
            assert (found is not None) == record
            assert found is None or found["options"]["size"] == 96  # type: ignore[index]


def test_a_draft_stays_out_of_the_gallery_until_it_is_kept(running: pieces.Program, upload: str) -> None:
    body = {"kind": "instant", "content": upload, "styles": [STYLE], "options": {"size": 64}, "draft": True, "slot": "x"}
    job = running.wait_until(running.client.post("/jobs", json=body).json()["id"], "done", "failed")
    ids = [each["id"] for each in running.client.get("/results").json()["items"]]
    assert job["result"] not in ids
    running.client.patch(f"/results/{job['result']}", json={"draft": False})
    assert job["result"] in [each["id"] for each in running.client.get("/results").json()["items"]]


def test_several_results_are_zipped_and_put_on_a_sheet(running: pieces.Program, upload: str) -> None:
    jobs = [running.submit("instant", upload, [style], size=64)["id"] for style in (STYLE, "starry-night")]
    ids = ",".join(running.wait_until(job, "done", "failed")["result"] for job in jobs)
    response = running.client.get("/results/zip", params={"ids": ids, "format": "jpeg"})
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["photo.jpg", "photo-2.jpg"]
    assert opened(running.client.get("/results/sheet", params={"ids": ids, "columns": 2})).width > 2 * 64
    assert pieces.wait_for(lambda: not list((running.data / "made").iterdir()))  # deleted after it was sent


def test_two_styles_are_painted_where_their_masks_are(running: pieces.Program, upload: str) -> None:
    left = PIL.Image.new("L", (160, 120), 0)
    left.paste(255, (0, 0, 80, 120))
    masks = []
    for mask in (left, left.point(lambda level: 255 - level)):
        stream = io.BytesIO()
        mask.save(stream, "PNG")
        masks.append(running.upload(stream.getvalue(), "mask.png"))
    body = {"kind": "instant", "content": upload, "styles": [STYLE, "starry-night"], "masks": masks, "options": {"size": 64}}
    job = running.wait_until(running.client.post("/jobs", json=body).json()["id"], "done", "failed")
    assert job["error"] is None


def test_uploads_and_named_styles_can_be_styles(running: pieces.Program, upload: str) -> None:
    own = running.client.post("/styles", json={"upload": running.upload(pieces.photo((90, 90)))}).json()["id"]
    job = running.wait_until(
        running.submit("instant", upload, [own, STYLE], size=64, style_weights=[1, 2])["id"], "done", "failed"
    )
    assert job["error"] is None


# ---------------------------------------------------------------------------------------------------- painting


def painting(running: pieces.Program, upload: str, **options: Any) -> str:
    return str(running.submit("paint", upload, [STYLE], size=64, smallest_size=64, **options)["id"])


def reach(running: pieces.Program, job: str, step: int) -> None:
    """Wait until a painting has reached a step."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        found = running.client.get(f"/jobs/{job}").json()
        if found["state"] == "running" and found["progress"] and found["progress"]["step"] >= step:
            return
        assert found["state"] in ("queued", "running"), found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_painting_sends_progress_and_previews_and_finishes(running: pieces.Program, upload: str) -> None:
    job = painting(running, upload, steps=12)
    with running.client.stream("GET", f"/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [each["data"] for each in pieces.events(response)]
    assert events[-1]["state"] == "done"
    assert any(each["preview"] for each in events)
    assert [each["version"] for each in events] == sorted({each["version"] for each in events})
    assert opened(running.client.get(f"/jobs/{job}/preview")).size == (64, 48)
    record = running.client.get(f"/results/{events[-1]['result']}").json()["record"]
    assert record["steps"]["done"] == 12
    assert record["steps"]["finished"]
    # the end of a job is not sent again to a client that has received it
    last = {"Last-Event-ID": str(events[-1]["version"])}
    assert running.client.get(f"/jobs/{job}/events", headers=last).status_code == 204


def test_a_cancelled_painting_continues_to_its_last_step(running: pieces.Program, upload: str) -> None:
    job = painting(running, upload, steps=400)
    reach(running, job, 3)
    assert running.client.post(f"/jobs/{job}/cancel").status_code == 202
    stopped = running.wait_until(job, "cancelled")
    assert stopped["can_continue"]
    done = stopped["progress"]["step"]
    assert running.client.post(f"/jobs/{job}/continue", json={}).status_code == 200
    reach(running, job, done + 2)
    assert running.client.post(f"/jobs/{job}/finish").status_code == 202
    ended = running.wait_until(job, "done", "failed")
    record = running.client.get(f"/results/{ended['result']}").json()["record"]
    assert record["steps"]["done"] >= done + 2
    assert record["steps"]["interruptions"] == 1
    assert not record["steps"]["finished"]


def test_a_paused_painting_can_be_finished_early(running: pieces.Program, upload: str) -> None:
    job = painting(running, upload, steps=400)
    reach(running, job, 2)
    running.client.post(f"/jobs/{job}/pause")
    assert running.wait_until(job, "paused")["can_continue"]
    running.client.post(f"/jobs/{job}/finish")
    assert running.wait_until(job, "done", "failed")["result"]


def test_more_steps_continue_from_a_result(running: pieces.Program, upload: str) -> None:
    first = running.wait_until(painting(running, upload, steps=3), "done", "failed")
    more = running.client.post(f"/jobs/{first['id']}/continue", json={"steps": 2}).json()
    ended = running.wait_until(more["id"], "done", "failed")
    assert ended["error"] is None
    results = [running.client.get(f"/results/{each['result']}").json() for each in (first, ended)]
    assert results[1]["record"]["steps"]["done"] == 2
    assert results[0]["id"] != results[1]["id"]


def test_refine_continues_from_an_instant_picture(running: pieces.Program, upload: str) -> None:
    first = running.wait_until(running.submit("instant", upload, [STYLE], size=64)["id"], "done", "failed")
    body = {"kind": "refine", "result": first["result"], "options": {"refine_seconds": 1, "size": 64}}
    ended = running.wait_until(running.client.post("/jobs", json=body).json()["id"], "done", "failed")
    assert ended["error"] is None
    assert running.client.get(f"/results/{ended['result']}").json()["record"]["refined"]["steps"] >= 1


def test_a_job_that_cannot_be_painted_fails_with_a_message(running: pieces.Program, upload: str) -> None:
    job = running.wait_until(running.submit("paint", upload, [STYLE], recipe="gatys", style_layers=["relu9_9"])["id"], "failed")
    assert "relu9_9" in job["error"]["message"]
    assert job["error"]["field"] == "style_layers" or job["error"]["code"] == "option"


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_the_next_is_served(running: pieces.Program, name: str) -> None:
    response = running.client.post("/uploads", params={"name": name}, content=HOSTILE[name])
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["code"] in ("picture", "memory")
    assert "bytes'" not in error["message"]
    assert str(running.data) not in error["message"]
    assert running.client.get("/status").status_code == 200
    assert not [
        path for path in (running.data / "uploads").iterdir() if path.stat().st_size == len(HOSTILE[name]) and not path.suffix
    ]


def test_a_crashed_worker_fails_only_its_job(running: pieces.Program, upload: str) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("children are found in /proc")
    job = painting(running, upload, steps=5000)
    reach(running, job, 2)
    slow = [each for each in running.workers() if b"slow" in Path(f"/proc/{each}/cmdline").read_bytes()]
    os.kill(slow[0], signal.SIGSEGV)
    failed = running.wait_until(job, "failed")
    assert "the worker ended unexpectedly (signal 11)" in failed["error"]["message"]
    assert running.wait_until(painting(running, upload, steps=2), "done", "failed")["error"] is None
    assert running.client.post(f"/jobs/{job}/retry").status_code == 200
    reach(running, job, 2)
    running.client.post(f"/jobs/{job}/cancel")
    running.wait_until(job, "cancelled")


def test_an_invalid_http_request_is_refused_and_the_next_is_served(running: pieces.Program) -> None:
    for rubbish in RUBBISH.values():
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(200)
            assert not answer or b" 4" in answer.partition(b"\r\n")[0]
    assert running.client.get("/status").status_code == 200


def test_a_second_studio_cannot_use_the_same_folder(running: pieces.Program) -> None:
    command = [sys.executable, "-m", "impasto", "studio", "--no-browser", "--data", str(running.data), "--port"]
    environment = {**os.environ, "PYTHONPATH": str(pieces.ROOT / "src")}
    for port, words in ((pieces.free_port(), "another studio uses"), (running.port, "another studio uses")):
        second = subprocess.run([*command, str(port)], capture_output=True, text=True, env=environment, check=False)
        assert second.returncode == 2
        assert words in second.stderr


def test_a_port_in_use_is_reported_in_one_sentence(running: pieces.Program, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "impasto", "studio", "--no-browser", "--data", str(tmp_path), "--port", str(running.port)]
    second = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(pieces.ROOT / "src")}, check=False
    )
    assert second.returncode == 2
    assert f"--port {running.port} cannot be bound" in second.stderr
    assert "Traceback" not in second.stderr


def test_many_clients_get_responses_while_a_job_runs(running: pieces.Program, upload: str) -> None:
    job = painting(running, upload, steps=5000)
    reach(running, job, 1)
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=str(running.client.base_url), timeout=60) as client:
            for _ in range(3):
                statuses.append(client.get(f"/jobs/{job}").status_code)
                statuses.append(client.get("/status").status_code)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 240
    running.client.post(f"/jobs/{job}/cancel")
    running.wait_until(job, "cancelled")


# ---------------------------------------------------------------------------------------------------- shutdown and restart


def test_kills_at_any_moment_lose_no_job_and_repeat_none(tmp_path: Path) -> None:
    running = pieces.started(tmp_path / "data")
    port, data = running.port, running.data
    upload = running.upload()
    wanted = [painting(running, upload, steps=60) for _ in range(2)]
    wanted += [running.submit("instant", upload, [STYLE], size=64)["id"] for _ in range(3)]
    for pause in (0.0, 0.7, 2.5):
        time.sleep(pause)
        running.kill()
        running = pieces.started(data, port, ready=False)
    try:
        for job in wanted:
            assert running.wait_until(job, "done", "failed")["error"] is None
        results = running.client.get("/results").json()["items"]
        assert sorted(each["job"] for each in results) == sorted(wanted)
        for each in results:
            assert opened(running.client.get(f"/results/{each['id']}/image")).size == (each["width"], each["height"])
    finally:
        pieces.ended(running)
    with sqlite3.connect(data / "studio.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    assert not [path for path in (data / "results").iterdir() if path.name.endswith(".part")]


def test_the_workers_end_with_the_studio(tmp_path: Path) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("children are found in /proc")
    running = pieces.started(tmp_path / "data")
    workers = running.workers()
    assert workers
    running.kill()
    assert pieces.wait_for(lambda: not any(_lives(each) for each in workers))


def _lives(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_missed_events_are_sent_again(running: pieces.Program, upload: str) -> None:
    before = running.client.get("/status").json()["event"]
    job = running.wait_until(running.submit("instant", upload, [STYLE], size=64)["id"], "done", "failed")
    with running.client.stream("GET", "/events", headers={"Last-Event-ID": str(before)}) as response:
        first = next(pieces.events(response))
    assert (first["data"]["id"], first["data"]["state"], int(first["id"])) == (job["id"], "done", job["version"])


def test_a_public_studio_prints_an_address_with_its_token(tmp_path: Path) -> None:
    running = pieces.started(tmp_path / "data", None, "--host", "0.0.0.0", token="0123456789abcdef-token")
    assert running.client.get("/status").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{running.port}/api/v1/status").status_code == 401
    output = pieces.ended(running)
    assert f"http://127.0.0.1:{running.port}/?token=0123456789abcdef-token" in output


def test_the_database_uses_write_ahead_logging_and_the_folder_is_private(running: pieces.Program) -> None:
    with sqlite3.connect(f"file:{running.data / 'studio.db'}?mode=ro", uri=True) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
    assert running.data.stat().st_mode & 0o077 == 0
    assert shutil.disk_usage(running.data).free > 0
    assert json.loads(running.client.get("/openapi.json").text)["openapi"].startswith("3.")
