# SPDX-License-Identifier: Apache-2.0
import cv2
import pytest

from benchmarks.pretraining_curves import main, read_curves, smooth

LOG = "epoch,loss,step,val_iou\n0,0.5,24,\n0,0.25,49,\n0,,49,0.125\n"


def test_reads_what_is_there(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    assert read_curves(tmp_path / "metrics.csv") == {"loss": ([24, 49], [0.5, 0.25]), "val_iou": ([49], [0.125])}


def test_smoothing_by_hand():
    assert smooth([1, 2, 6, 3], width=3) == [1.5, 3.0, pytest.approx(11 / 3), 4.5]
    assert smooth([7.0]) == [7.0]


def test_command(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    picture = tmp_path / "curves.png"
    assert main([f"--log={tmp_path / 'metrics.csv'}", f"--output={picture}"]) == 0
    pixels = cv2.imread(str(picture))
    assert pixels.shape[1] > 2 * pixels.shape[0]  # two panels
    assert pixels.std() > 5


@pytest.mark.parametrize("content", [None, "", "step,loss\n", "loss\n0.5\n", "step,loss\n1,many\n"])
def test_mistakes(content, tmp_path, capsys):
    log = tmp_path / "metrics.csv"
    if content is not None:
        log.write_text(content)
    assert main([f"--log={log}", f"--output={tmp_path / 'curves.png'}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "metrics.csv" in message
    assert not (tmp_path / "curves.png").exists()
